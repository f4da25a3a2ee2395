"""How many steps a CEL expression takes at most, worked out without running it.

A step is about a microsecond of the evaluator: one operator, one fact, one element that a macro visits, one value that is copied.
``filter`` and ``map`` copy what they have found so far with every element that they add, so they take the square of what they go
through. Texts and lists grow where they are added up, and a macro over what has grown takes so much longer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

LINE = 17.0  # what it takes to copy a line: names and values
FACT = 2.0
ROOT = 20.0
TAGS = 20  # the most elements of a list among the facts
ROUND = 3.0  # what a macro takes for an element, beside what it asks of it
CHARACTERS = 50  # so many characters are as much as one value
MOST = 1e12  # more is not told apart

_TOKEN = re.compile(
    r"\s+|//[^\n]*"
    r"|(?P<text>[rRbB]{0,2}(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'))"
    r"|(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+\.\d+|\d+|\.\d+)(?:[eE][-+]?\d+)?[uU]?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<sign>\|\||&&|==|!=|<=|>=|[-+*/%<>!?:,.()\[\]{}])",
    re.DOTALL,
)
_BINDS = {
    "||": 1,
    "&&": 2,
    "==": 3,
    "!=": 3,
    "<": 3,
    "<=": 3,
    ">": 3,
    ">=": 3,
    "in": 3,
    "+": 4,
    "-": 4,
    "*": 5,
    "/": 5,
    "%": 5,
}
_COUNTED = re.compile(r"\{(\d+)?,?(\d+)?\}")
_VISITS = frozenset(("all", "exists", "exists_one", "existsOne", "filter", "map"))
_COPIES = frozenset(("filter", "map"))


class Unknown(ValueError):
    """Nobody can say how many steps it takes; the message says why."""


class Value(Struct, frozen=True):
    """What an expression comes to at most: ``size`` is what copying it takes, ``length`` how many elements a macro would visit."""

    size: float = 1.0
    length: float = 0.0
    element: Value | None = None

    @property
    def one(self) -> Value:
        return self.element or Value(self.size)

    def beside(self, other: Value) -> Value:
        """Whichever of the two is more."""
        element = self.element if other.element is None else other.element
        if self.element is not None and other.element is not None:
            element = self.element.beside(other.element)
        return Value(max(self.size, other.size), max(self.length, other.length), element)


class Taken(Struct, frozen=True):
    """What evaluating takes, and what it comes to."""

    steps: float
    value: Value = Value()


Bound = Mapping[str, Value]
Node = Callable[[int, Bound], Taken]
"""(how many lines the order has, what macros have bound) -> what it takes"""


def steps_of(source: str) -> Callable[[int], float]:
    """Given how many lines an order has: how many steps the expression takes on it at most. Raises ``Unknown``."""
    reader = _Reader(source)
    node = reader.expression()
    if reader.next:
        raise Unknown(f"{reader.next!r} is not expected here")
    return lambda lines: min(node(lines, {}).steps, MOST)


def pattern_steps(pattern: str) -> float:
    """What compiling a pattern for ``matches`` and looking with it takes: classes are tables of characters, and what is counted is
    built so many times.
    """
    times = 1.0
    for least, most in _COUNTED.findall(pattern):
        times *= max(int(most[:6] or 0), int(least[:6] or 0), 1)
    classes = sum(pattern.count(sign) for sign in ("\\", "[", ".", "(?"))
    return min(100 + (2 * len(pattern) + 200 * classes) * times, MOST)


def _root(name: str, lines: int) -> Value:
    if name == "lines":
        return Value(1 + lines * LINE, lines, Value(LINE))
    return Value(ROOT)


class _Reader:
    """Reads an expression from left to right; what binds more closely first."""

    def __init__(self, source: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(source):
            found = _TOKEN.match(source, place)
            if found is None:
                raise Unknown(f"{source[place]!r} is not expected here")
            if found.lastgroup is not None:
                self._tokens.append((found.lastgroup, found[0]))
            place = found.end()
        self._place = 0

    @property
    def next(self) -> str:
        return self._tokens[self._place][1] if self._place < len(self._tokens) else ""

    def take(self) -> tuple[str, str]:
        if self._place == len(self._tokens):
            raise Unknown("it ends too early")
        self._place += 1
        return self._tokens[self._place - 1]

    def took(self, sign: str) -> bool:
        """Whether that comes next; then it is passed."""
        there = self._place < len(self._tokens) and self._tokens[self._place][0] != "text" and self.next == sign
        self._place += there
        return there

    def needs(self, sign: str) -> None:
        if not self.took(sign):
            raise Unknown(f"{sign!r} is missing")

    def expression(self) -> Node:
        asked = self.binary(1)
        if not self.took("?"):
            return asked
        yes = self.expression()
        self.needs(":")
        return _either(asked, yes, self.expression())

    def binary(self, least: int) -> Node:
        left = self.unary()
        while (binds := _BINDS.get(self.next, 0)) >= least and self._tokens[self._place][0] != "text":
            sign = self.take()[1]
            left = _both(sign, left, self.binary(binds + 1))
        return left

    def unary(self) -> Node:
        if self.took("!") or self.took("-"):
            return _over(self.unary())
        return self.postfix(self.primary())

    def postfix(self, node: Node) -> Node:
        while True:
            if self.took("."):
                kind, name = self.take()
                if kind != "name":
                    raise Unknown(f"{name!r} is no name")
                node = self.call(name, node) if self.took("(") else _member(node, name)
            elif self.took("["):
                node = _at(node, self.expression())
                self.needs("]")
            else:
                return node

    def primary(self) -> Node:
        kind, word = self.take()
        if kind == "number":
            return _fixed(Value())
        if kind == "text":
            return _fixed(Value(1 + len(word) / CHARACTERS))
        if kind == "name":
            return self.call(word, None) if self.took("(") else _named(word)
        if word == "(":
            inner = self.expression()
            self.needs(")")
            return inner
        if word == "[":
            return _collected(self.listed("]"))
        if word == "{":
            return _collected(self.listed("}", pairs=True))
        raise Unknown(f"{word!r} is not expected here")

    def listed(self, end: str, *, pairs: bool = False) -> list[Node]:
        nodes: list[Node] = []
        while not self.took(end):
            nodes.append(self.expression())
            if pairs:
                self.needs(":")
                nodes.append(self.expression())
            if not self.took(","):
                self.needs(end)
                break
        return nodes

    def call(self, name: str, of: Node | None) -> Node:
        begins = self._place
        if name == "matches":
            arguments = self.listed(")")
            return _matches(self.pattern(begins, self._place), [*([of] if of else []), *arguments])
        if of is not None and name in _VISITS:
            kind, bound = self.take()
            if kind != "name":
                raise Unknown(f"`{name}` names what it goes through first, as in lines.{name}(line, …)")
            self.needs(",")
            return _visit(name in _COPIES, name == "map", of, bound, self.listed(")"))
        return _called([*([of] if of else []), *self.listed(")")])

    def pattern(self, begins: int, ends: int) -> str:
        """The pattern as it is written; the last argument."""
        if ends - begins >= 2 and self._tokens[ends - 2][0] == "text" and self._alone(begins, ends - 2):
            return self._tokens[ends - 2][1]
        raise Unknown('`matches` takes a pattern that is written out, as in order.type.matches("^b2b")')

    def _alone(self, begins: int, place: int) -> bool:
        return place == begins or self._tokens[place - 1] == ("sign", ",")


def _fixed(value: Value) -> Node:
    return lambda lines, bound: Taken(1.0, value)


def _named(name: str) -> Node:
    return lambda lines, bound: Taken(1.0, bound[name] if name in bound else _root(name, lines))


def _member(of: Node, name: str) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        whole = of(lines, bound)
        if whole.value.size in (LINE, ROOT) and whole.value.element is None:
            tags = Value(1 + TAGS * FACT, TAGS, Value(FACT))
            return Taken(whole.steps + 1, tags if name == "handling_classes" else Value(FACT))
        return Taken(whole.steps + 1, whole.value.one)

    return taken


def _at(of: Node, place: Node) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        whole, index = of(lines, bound), place(lines, bound)
        # `line["handling_classes"]` is a fact, too
        one = whole.value.one if whole.value.element else Value(whole.value.size, TAGS, Value(FACT))
        return Taken(whole.steps + index.steps + 1, one)

    return taken


def _over(of: Node) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        return Taken(of(lines, bound).steps + 1)

    return taken


def _either(asked: Node, yes: Node, no: Node) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        one, two, three = asked(lines, bound), yes(lines, bound), no(lines, bound)
        return Taken(one.steps + two.steps + three.steps + 1, two.value.beside(three.value))

    return taken


def _both(sign: str, left: Node, right: Node) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        one, two = left(lines, bound), right(lines, bound)
        steps = one.steps + two.steps + 1
        if sign in ("||", "&&", "-", "*", "/", "%"):
            return Taken(steps)
        size = one.value.size + two.value.size
        if sign != "+":
            return Taken(steps + size / 10)  # compared: what is equal is looked at to its end
        both = one.value.beside(two.value)
        return Taken(steps + size, Value(min(size, MOST), min(one.value.length + two.value.length, MOST), both.element))

    return taken


def _collected(nodes: list[Node]) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        parts = [node(lines, bound) for node in nodes]
        element: Value | None = None
        for part in parts:
            element = part.value if element is None else element.beside(part.value)
        size = 1 + sum(part.value.size for part in parts)
        return Taken(sum(part.steps for part in parts) + size, Value(size, len(parts), element))

    return taken


def _called(nodes: list[Node]) -> Node:
    """A function takes what it is given, and comes to no more."""

    def taken(lines: int, bound: Bound) -> Taken:
        parts = [node(lines, bound) for node in nodes]
        value = Value()
        for part in parts:
            value = value.beside(part.value)
        return Taken(sum(part.steps + part.value.size / 10 for part in parts) + 1, value)

    return taken


def _matches(pattern: str, nodes: list[Node]) -> Node:
    looks = pattern_steps(pattern)

    def taken(lines: int, bound: Bound) -> Taken:
        parts = [node(lines, bound) for node in nodes]
        return Taken(sum(part.steps for part in parts) + looks * max((part.value.size for part in parts), default=1.0))

    return taken


def _visit(copies: bool, maps: bool, of: Node, bound_name: str, nodes: list[Node]) -> Node:
    def taken(lines: int, bound: Bound) -> Taken:
        whole = of(lines, bound)
        length, element = whole.value.length, whole.value.one
        inner = [node(lines, {**bound, bound_name: element}) for node in nodes]
        steps = whole.steps + 1 + length * (ROUND + sum(part.steps for part in inner))
        if not copies:
            return Taken(min(steps, MOST))
        made = inner[-1].value if maps and inner else element
        size = min(1 + length * made.size, MOST)
        return Taken(min(steps + length * size / 2, MOST), Value(size, length, made))

    return taken
