"""Conditions that no order can fulfil: comparisons of one fact that exclude each other, as far as plain comparisons show it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from msgspec import Struct

RANGES: dict[str, tuple[int, int]] = {
    "order.units": (1, 2**63 - 1),
    "order.size": (1, 2**63 - 1),
    "order.total_minor": (0, 2**63 - 1),
    "order.grams": (0, 2**63 - 1),
    "lines.quantity": (1, 2**63 - 1),
    "lines.unit_price_minor": (0, 2**63 - 1),
    "lines.grams": (0, 2**63 - 1),
    "clock.hour": (0, 23),
    "clock.minute": (0, 59),
    "clock.weekday": (1, 7),
    "clock.month": (1, 12),
    "clock.day": (1, 31),
}
"""What whole numbers can be."""

_COMPARISON = re.compile(
    r"(?P<fact>[a-z]+\.[a-z_]+)\s*(?P<sign>==|!=|<=|>=|<|>)\s*(?:(?P<number>-?\d{1,18})|(?P<text>\"[^\"\\]*\"|'[^'\\]*'))"
)
_YES = re.compile(r"(?P<no>!?)\s*(?P<fact>[a-z]+\.[a-z_]+)")


class _Fact(Struct):
    """What is left of a fact's values."""

    low: int
    high: int
    texts: frozenset[str] | None = None
    no_texts: frozenset[str] = frozenset()
    no_numbers: frozenset[int] = frozenset()
    yes: frozenset[bool] = frozenset()

    @property
    def empty(self) -> bool:
        if self.texts is not None and not self.texts - self.no_texts:
            return True
        few = self.high - self.low < 1000
        numbers = not few or any(n not in self.no_numbers for n in range(self.low, self.high + 1))
        return not numbers or len(self.yes) == 2


def contradiction(source: str, known: Mapping[str, frozenset[str]] | None = None) -> str | None:
    """The fact of which a condition asks what cannot be; None if it may hold. ``known`` are the only texts that some facts have."""
    alternatives = split(source, "||")
    if len(alternatives) > 1:
        found = [contradiction(one, known) for one in alternatives]
        return found[0] if all(found) else None
    facts: dict[str, _Fact] = {}
    for part in _conjuncts(source):
        if len(split(part, "||")) > 1:
            if fact := contradiction(part, known):
                return fact
            continue
        name = _narrow(part, facts, known or {})
        if name is not None and facts[name].empty:
            return name
    return None


def _conjuncts(source: str) -> Iterator[str]:
    for part in split(source, "&&"):
        bare = _unwrapped(part)
        if len(split(bare, "||")) == 1 and len(split(bare, "&&")) > 1:
            yield from _conjuncts(bare)
        else:
            yield bare


def _unwrapped(part: str) -> str:
    """Without parentheses around all of it."""
    part = part.strip()
    while part.startswith("(") and part.endswith(")"):
        depth = 0
        for index, sign in enumerate(part):
            depth += (sign == "(") - (sign == ")")
            if not depth and index < len(part) - 1:
                return part
        part = part[1:-1].strip()
    return part


def _narrow(part: str, facts: dict[str, _Fact], known: Mapping[str, frozenset[str]]) -> str | None:
    """Which fact a plain comparison tells of; others tell of none."""
    told = _COMPARISON.fullmatch(part) or _YES.fullmatch(part)
    if told is None:
        return None
    name = told["fact"]
    fact = facts.get(name)
    if fact is None:
        low, high = RANGES.get(name, (-(2**63), 2**63 - 1))
        fact = facts[name] = _Fact(low, high, known.get(name))
    if told.re is _YES:
        fact.yes |= {not told["no"]}
        return name
    sign = told["sign"]
    if told["text"] is not None:
        text = told["text"][1:-1]
        if sign == "==":
            fact.texts = frozenset({text}) if fact.texts is None else fact.texts & {text}
        elif sign == "!=":
            fact.no_texts |= {text}
        return name
    number = int(told["number"])
    if sign == "!=":
        fact.no_numbers |= {number}
    if sign in ("==", ">=", ">"):
        fact.low = max(fact.low, number + (sign == ">"))
    if sign in ("==", "<=", "<"):
        fact.high = min(fact.high, number - (sign == "<"))
    return name


def split(source: str, sign: str) -> list[str]:
    """What stands beside ``&&`` or ``||``, outside of parentheses and quotes."""
    depth, start, quote, index = 0, 0, None, 0
    parts = []
    while index < len(source):
        here = source[index]
        if quote:
            if here == "\\":
                index += 1
            elif here == quote:
                quote = None
        elif here in "\"'":
            quote = here
        elif here in "([{":
            depth += 1
        elif here in ")]}":
            depth -= 1
        elif depth == 0 and source[index : index + 2] == sign:
            parts.append(source[start:index])
            start = index + 2
            index += 1
        index += 1
    parts.append(source[start:])
    return parts
