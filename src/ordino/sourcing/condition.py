"""Conditions over an order, in CEL, the Common Expression Language (https://cel.dev).

An expression is checked before it is used: its names against ``FACTS``, and its types by trying it, and every operand that a short
circuit could hide, on sample orders. On a real order it answers yes, no, or the sentence why it cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import cel

LONGEST = 1000
MOST_OPERATORS = 150  # deeper expressions would exhaust the evaluator's stack
_OPERATOR = re.compile(r"[-+*/%<>=!&|?:,.\[({]")

FACTS: dict[str, dict[str, tuple[str, str]]] = {
    "order": {
        "channel": ("string", "the channel's code"),
        "seller": ("string", "the seller's code"),
        "type": ("string", "home_delivery, or what the channel says"),
        "currency": ("string", "ISO 4217"),
        "total_minor": ("int", "what the buyer pays, in minor units"),
        "units": ("int", "units of all lines"),
        "size": ("int", "how many lines"),
        "grams": ("int", "weight of all units"),
        "service_level": ("string", "what the buyer chose, or empty"),
        "promised": ("bool", "whether the buyer was told a date"),
    },
    "lines": {
        "sku": ("string", "its code"),
        "quantity": ("int", "units"),
        "unit_price_minor": ("int", "in minor units"),
        "category": ("string", "the SKU's category, or empty"),
        "grams": ("int", "weight of one unit"),
        "handling_classes": ("list", "what a location must be able to handle"),
        "group": ("string", "what the channel wants from one location, or empty"),
        "kit": ("bool", "whether it is made of components"),
    },
    "customer": {
        "id": ("string", "as the channel calls them, or empty"),
        "known": ("bool", "whether the order says who ordered"),
    },
    "destination": {
        "country": ("string", "ISO 3166-1 alpha-2"),
        "region": ("string", "as the address says, or empty"),
        "postal_code": ("string", "as the address says"),
        "city": ("string", "as the address says"),
    },
    "clock": {
        "date": ("string", "2026-11-27, UTC"),
        "hour": ("int", "0 to 23, UTC"),
        "minute": ("int", "0 to 59"),
        "weekday": ("int", "1 is Monday"),
        "month": ("int", "1 to 12"),
        "day": ("int", "1 to 31"),
    },
}
"""Root -> name -> (type, what it says). ``lines`` is a list of such."""

_STRINGS = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|r?\"(?:\\.|[^\"\\])*\"|r?'(?:\\.|[^'\\])*'", re.DOTALL)
_PATH = re.compile(r"(?<![\w.])([a-z_]\w*)((?:\s*\.\s*[a-zA-Z_]\w*\b(?!\s*\())*)")
_COMPARED = re.compile(
    r"(?<![\w.])([a-z_]\w*)\s*\.\s*(\w+)\s*[!=]=\s*(?:(?P<string>[\"'])|(?P<int>\d)|(?P<bool>true|false))"
)
_MACRO = re.compile(r"\blines\s*\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([a-z_]\w*)\s*,")
_ANY_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*([a-z_]\w*)\s*,")
_WORDS = frozenset(("true", "false", "null", "in"))


class Wrong(ValueError):
    """The expression cannot be used; the message says why."""


class CelCondition:
    """A compiled expression, with the line on which it stands."""

    __slots__ = ("_program", "_roots", "line", "source")

    def __init__(self, source: str, line: int = 1) -> None:
        """Raises ``Wrong``."""
        self.source = source
        self.line = line
        if len(source) > LONGEST:
            raise Wrong(f"an expression has at most {LONGEST} characters.")
        if len(_OPERATOR.findall(_STRINGS.sub("", source))) > MOST_OPERATORS:
            raise Wrong(f"an expression has at most {MOST_OPERATORS} operators, calls and parentheses.")
        self._program = _compile(source)
        self._roots = [root for root in FACTS if root in self._program.references()["variables"]]
        _check_names(source)
        _check_equalities(source)
        for part in (*dict.fromkeys(_operands(source)), source):
            _check_types(part, whole=part == source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelCondition) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    @property
    def constant(self) -> bool | None:
        """What it says whatever the order; None if that depends on the order."""
        if self._roots:
            return None
        answer = self.holds({})
        return answer if isinstance(answer, bool) else None

    def holds(self, facts: Mapping[str, Any]) -> bool | str:
        """Whether it holds; the sentence why that cannot be told. Never raises."""
        try:
            context = cel.Context()
            for root in self._roots:
                context.add_variable(root, facts[root])
            answer = self._program.execute(context)
        except Exception as error:  # whatever an expression meets on an order, the order goes on
            return f"its condition failed on this order: {_said(error)}"
        if isinstance(answer, bool):
            return answer
        return f"its condition is no yes or no on this order, but {type(answer).__name__}"


def _compile(source: str) -> cel.Program:
    try:
        return cel.compile(source)
    except Exception as error:
        raise Wrong(f"this is no expression: {_said(error)}.") from error


def _said(error: Exception) -> str:
    text = str(error).split(": ERROR: ")[-1].splitlines()
    return (text[0].split(". ")[0] if text else type(error).__name__).rstrip(".")[:200]


def _check_names(source: str) -> None:
    bare = _STRINGS.sub('""', source)
    lines = set(_MACRO.findall(bare))
    bound = set(_ANY_MACRO.findall(bare))
    for root, path in _PATH.findall(bare):
        names = [name.strip() for name in path.split(".") if name.strip()]
        after = bare[bare.index(root + path) + len(root + path) :].lstrip()
        if root in _WORDS or (not names and after.startswith("(")):
            continue
        if root in lines:
            known: Mapping[str, Any] = FACTS["lines"]
        elif root in bound:
            continue
        elif root not in FACTS:
            raise Wrong(f"there is no {root!r}{_nearest(root, FACTS)}; there are {', '.join(FACTS)}.")
        elif root == "lines":
            if names:
                raise Wrong(f"`lines` is a list: write lines.exists(line, line.{names[0]} == …).")
            continue
        else:
            known = FACTS[root]
        if names and names[0] not in known:
            raise Wrong(f"{root} has no {names[0]!r}{_nearest(names[0], known)}; it has {', '.join(known)}.")


def _check_equalities(source: str) -> None:
    """CEL calls values of different types unequal, and says nothing; nobody means that."""
    lines = set(_MACRO.findall(source))
    for match in _COMPARED.finditer(source):
        root, name = match[1], match[2]
        kind = FACTS.get("lines" if root in lines else root, {}).get(name, ("", ""))[0]
        if kind and match.lastgroup != kind:
            raise Wrong(f"the types do not fit in `{match[0]}…`: {root}.{name} is of type {kind}.")


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    found = get_close_matches(name, list(known), 1)
    return f" (is {found[0]!r} meant?)" if found else ""


def _operands(source: str) -> Iterator[str]:
    """What stands beside && and || outside of parentheses, and within parentheses that hold a whole operand: a short circuit
    would hide their faults. An operand that uses a macro's variable is left to its macro.
    """
    depth, start, quote, parts = 0, 0, None, []
    index = 0
    while index < len(source):
        sign = source[index]
        if quote:
            if sign == "\\":
                index += 1
            elif sign == quote:
                quote = None
        elif sign in "\"'":
            quote = sign
        elif sign in "([{":
            depth += 1
        elif sign in ")]}":
            depth -= 1
        elif depth == 0 and source[index : index + 2] in ("&&", "||"):
            parts.append(source[start:index])
            start = index + 2
            index += 1
        index += 1
    parts.append(source[start:])
    for part in (part.strip() for part in parts):
        bare = part.lstrip("! ")
        if bare.startswith("(") and bare.endswith(")") and len(bare) > 2:
            yield from _operands(bare[1:-1])
        if len(parts) > 1:
            yield part


def _check_types(source: str, *, whole: bool) -> None:
    try:
        program = cel.compile(source)
    except Exception:
        if whole:
            raise
        return  # what was cut out is no expression by itself; the whole one is tried anyway
    for sample in SAMPLES:
        try:
            answer = program.execute(dict(sample))
        except TypeError as error:
            raise Wrong(f"the types do not fit in `{source}`: {_said(error)}.") from error
        except RuntimeError as error:
            raise Wrong(f"`{source}`: {_said(error)}.") from error
        except Exception:  # of this sample's values: a division by zero, an index beyond the end
            continue
        if not isinstance(answer, bool):
            raise Wrong(f"`{source}` is no yes or no, but {type(answer).__name__}: compare it with something.")


def _sample(few: bool) -> dict[str, Any]:
    values = {"string": "" if few else "a1", "int": 0 if few else 7, "bool": not few, "list": [] if few else ["a1"]}
    facts: dict[str, Any] = {
        root: {name: values[kind] for name, (kind, _) in names.items()} for root, names in FACTS.items()
    }
    facts["lines"] = [facts["lines"]] * (1 if few else 3)
    return facts


SAMPLES = (_sample(True), _sample(False))
