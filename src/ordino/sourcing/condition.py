"""Conditions over an order, in CEL, the Common Expression Language (https://cel.dev).

An expression is checked before it is used: its names against ``FACTS``, and its types by trying it, and every operand that a short
circuit could hide, on sample orders. On a real order it answers yes, no, or the sentence why it cannot tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import cel

from ordino.sourcing.contradiction import RANGES, contradiction, split
from ordino.sourcing.steps import Unknown, steps_of

LONGEST = 1000
BUDGET = 20_000
BUDGET_A_LINE = 150
"""One condition may take ``BUDGET`` steps on an order, of about a microsecond each, and ``BUDGET_A_LINE`` more for each line."""
IN_ALL = 10
"""So many times the budget of one condition may all conditions of a profile take on an order together."""
SMALL = 20
"""A condition that takes too long even on an order of so many lines is refused when it is written."""
MOST_ORDER_LINES = 5000
"""No order has more lines: ``MAX_LINES`` of the stage ``orders``, which comes later."""
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

EXAMPLES = {
    "order.channel": "web",
    "order.seller": "me",
    "order.type": "home_delivery",
    "order.currency": "USD",
    "lines.sku": "A-1",
    "destination.country": "US",
    "clock.date": "2026-11-27",
}
"""What is never empty."""
MOST_LINES = 50
NAMED = 20
"""So many numbers and texts of an expression are tried."""

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


class Asked:
    """One order as conditions ask about it: its facts, and the steps that are left for them. Facts are handed to the evaluator
    once, and an answer is found once.
    """

    __slots__ = ("_context", "_facts", "_known", "answers", "left", "lines")

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts
        self._context = cel.Context()
        self._known: set[str] = set()
        self.answers: dict[str, bool | str] = {}
        """By expression."""
        self.lines = len(facts.get("lines", ()))
        self.left = float(IN_ALL * budget(self.lines))

    def context(self, roots: Sequence[str]) -> cel.Context:
        """What an expression over these is run in."""
        for root in roots:
            if root not in self._known:
                self._context.add_variable(root, self._facts[root])
                self._known.add(root)
        return self._context


def budget(lines: int) -> int:
    """So many steps may one condition take on an order of so many lines."""
    return BUDGET + BUDGET_A_LINE * lines


class CelCondition:
    """A compiled expression, with the line on which it stands."""

    __slots__ = ("_each", "_fits", "_least", "_program", "_roots", "_steps", "line", "source")

    def __init__(self, source: str, line: int = 1) -> None:
        """Raises ``Wrong``."""
        self.source = source
        self.line = line
        if len(source) > LONGEST:
            raise Wrong(f"an expression has at most {LONGEST} characters.")
        if len(_OPERATOR.findall(_STRINGS.sub("", source))) > MOST_OPERATORS:
            raise Wrong(f"an expression has at most {MOST_OPERATORS} operators, calls and parentheses.")
        self._program = _compile(source)
        self._bound_steps()
        self._roots = [root for root in FACTS if root in self._program.references()["variables"]]
        _check_names(source)
        _check_equalities(source)
        samples = [Asked(sample).context(self._roots) for sample in _samples(source)]
        for part in (*dict.fromkeys(_operands(source)), source):
            _check_types(part, samples, whole=part == source)

    def _bound_steps(self) -> None:
        """Raises ``Wrong`` if it may take too long even on a small order, or if that cannot be told."""
        try:
            self._steps = steps_of(self.source)
        except (Unknown, RecursionError) as error:
            raise Wrong(f"how long this takes cannot be told: {error or 'it is nested too deeply'}.") from error
        if (most := self._steps(SMALL)) > budget(SMALL):
            raise Wrong(
                f"this may take {most:,.0f} steps on an order of {SMALL} lines, and {budget(SMALL):,} are allowed. Nest fewer "
                "macros; use `exists` or `all` in place of `filter` and `map`; and write shorter patterns for `matches`."
            )
        # Steps grow faster and faster with the lines: what keeps to the budget on small and on the largest orders always does.
        most = self._steps(MOST_ORDER_LINES)
        self._fits = most <= budget(MOST_ORDER_LINES)
        self._least = self._steps(0)
        self._each = (most - self._least) / MOST_ORDER_LINES

    def steps(self, lines: int) -> float:
        """So many does it take at most on an order of so many lines."""
        if self._fits and lines <= MOST_ORDER_LINES:
            return self._least + self._each * lines
        return self._steps(lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CelCondition) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    @property
    def asks_time(self) -> bool:
        """Whether it asks the clock: what does not hold now may hold at another time."""
        return "clock" in self._roots

    @property
    def constant(self) -> bool | None:
        """What it says whatever the order; None if that depends on the order."""
        if self._roots:
            return None
        answer = self.holds({})
        return answer if isinstance(answer, bool) else None

    def impossible(self, known: Mapping[str, frozenset[str]] | None = None) -> str | None:
        """The fact of which it asks what cannot be; None if it may hold. ``known`` are the only texts that some facts have."""
        return contradiction(self.source, known)

    def holds(self, facts: Mapping[str, Any]) -> bool | str:
        """Whether it holds; the sentence why that cannot be told. Never raises."""
        return self.answer(Asked(facts))

    def answer(self, asked: Asked) -> bool | str:
        """Whether it holds for an order; the sentence why that cannot be told. Never raises, and takes no more steps than are
        left.
        """
        found = asked.answers.get(self.source)
        if found is None:
            found = asked.answers[self.source] = self._run(asked)
        return found

    def _run(self, asked: Asked) -> bool | str:
        steps = self.steps(asked.lines)
        if not (self._fits and asked.lines <= MOST_ORDER_LINES) and steps > budget(asked.lines):
            return (
                f"its condition was not run on this order, because it may take {steps:,.0f} steps on {asked.lines} lines, and "
                f"{budget(asked.lines):,} are allowed"
            )
        if steps > asked.left:
            return "its condition was not run on this order, because those before it have used up the steps of an order"
        asked.left -= steps
        try:
            answer = self._program.execute(asked.context(self._roots))
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
    parts = [part for some in split(source, "||") for part in split(some, "&&")]
    for part in (part.strip() for part in parts):
        bare = part.lstrip("! ")
        if bare.startswith("(") and bare.endswith(")") and len(bare) > 2:
            yield from _operands(bare[1:-1])
        if len(parts) > 1:
            yield part


def _check_types(source: str, samples: Sequence[cel.Context], *, whole: bool) -> None:
    try:
        program = cel.compile(source)
    except Exception:
        if whole:
            raise
        return  # what was cut out is no expression by itself; the whole one is tried anyway
    failed: Exception | None = None
    works = False
    for sample in samples:
        try:
            answer = program.execute(sample)
        except TypeError as error:
            raise Wrong(f"the types do not fit in `{source}`: {_said(error)}.") from error
        except Exception as error:  # of this sample's values: a division by zero, an index beyond the end
            failed = error
            if whole:
                raise Wrong(
                    f"`{source}` fails on some orders: {_said(error)}. Ask first, as in size(lines) > 2 && lines[2].kit."
                ) from error
            continue
        works = True
        if not isinstance(answer, bool):
            raise Wrong(f"`{source}` is no yes or no, but {type(answer).__name__}: compare it with something.")
    if failed is not None and not works:
        raise Wrong(f"`{source}`: {_said(failed)}.") from failed


def _sample(number: int, text: str, yes: bool, tags: list[str]) -> dict[str, Any]:
    """An order that may come, with values near these."""
    values: dict[str, Any] = {"string": text, "bool": yes, "list": tags}

    def value(root: str, name: str, kind: str) -> Any:
        if kind == "int":
            low, high = RANGES[f"{root}.{name}"]
            return min(max(number, low), high)
        return EXAMPLES.get(f"{root}.{name}", values[kind]) if kind == "string" and not text else values[kind]

    facts: dict[str, Any] = {
        root: {name: value(root, name, kind) for name, (kind, _) in names.items()} for root, names in FACTS.items()
    }
    facts["clock"]["date"] = EXAMPLES["clock.date"]
    facts["order"]["size"] = min(facts["order"]["size"], MOST_LINES)
    facts["lines"] = [facts["lines"]] * facts["order"]["size"]
    return facts


_NUMBERS = re.compile(r"(?<![\w.])\d{1,9}(?![\w.])")
_TEXTS = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'")


def _samples(source: str) -> Iterator[Mapping[str, Any]]:
    """Orders of all sizes, and such as have the numbers and texts that the expression names."""
    yield _sample(0, "", False, [])
    yield _sample(7, "a1", True, ["a1"])
    yield _sample(3, "7", True, [])
    for number in sorted({int(found) for found in _NUMBERS.findall(_STRINGS.sub("", source))})[:NAMED]:
        yield _sample(number, "a1", True, ["a1"])
    for text in sorted({a or b for a, b in _TEXTS.findall(source)})[:NAMED]:
        yield _sample(7, text, True, [text])
