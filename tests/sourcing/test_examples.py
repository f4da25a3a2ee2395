"""The profiles that the documentation teaches, and the one of the demo, are valid."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from ordino.sourcing.document import parse

TAUGHT = re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "sourcing.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", TAUGHT, ids=lambda text: text.split("\n")[0])
def test_a_profile_of_the_documentation_is_valid(text: str) -> None:
    assert parse(text).strategies


def test_there_are_five_cases_and_a_first_one() -> None:
    assert len(TAUGHT) == 6


def test_the_profile_of_the_demo_is_valid() -> None:
    text = files("ordino.cli.demo").joinpath("profile.yaml").read_text(encoding="utf-8")
    assert len(parse(text).strategies) > 1
