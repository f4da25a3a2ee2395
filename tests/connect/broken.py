"""Runs a conformance suite on an adapter, and tells which of its tests fail: the suites' negative control."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Made = Callable[[], dict[str, Any]]


def cases(test: Any) -> Iterator[dict[str, Any]]:
    """The values of each of a test's parameters, in every combination."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    each = [[(mark.args[0], value) for value in mark.args[1]] for mark in marks]
    for combination in itertools.product(*each):
        yield dict(combination)


async def failing(suite: Any, made: Made) -> set[str]:
    """The names of the suite's tests that fail, each on fixtures of its own."""
    failed = set()
    for name in dir(suite):
        if not name.startswith("test_"):
            continue
        test = getattr(suite, name)
        for values in cases(test):
            fixtures = made()
            wanted = {one: fixtures[one] for one in inspect.signature(test).parameters if one in fixtures}
            try:
                await test(**wanted, **values)
            except (Exception, pytest.fail.Exception):
                failed.add(name)
    return failed
