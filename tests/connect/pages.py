"""The code of ``docs/howto/write-an-adapter.md``, as its readers would save it."""

from __future__ import annotations

import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "write-an-adapter.md"


def blocks(language: str) -> list[str]:
    """The page's code in one language, from top to bottom."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@cache
def acme_module() -> Any:
    """The provider of the page, imported."""
    module = ModuleType("acme_ordino")
    sys.modules["acme_ordino"] = module
    exec(compile(blocks("python")[0], str(PAGE), "exec"), module.__dict__)
    return module
