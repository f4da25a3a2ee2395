from __future__ import annotations

from pathlib import Path

import pytest

from ordino.cli.reference import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_pages_say_what_the_code_does(name: str) -> None:
    again = "run `python -m ordino.cli.reference docs`"
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), again
