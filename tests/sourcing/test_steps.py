"""Conditions end: what may take too long is refused when it is written, and not run on orders that are too large for it."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytest

from ordino.core.errors import Invalid
from ordino.orders.model import MAX_LINES
from ordino.sourcing.condition import IN_ALL, MOST_ORDER_LINES, SMALL, Asked, CelCondition, Wrong, budget
from ordino.sourcing.document import parse
from ordino.sourcing.steps import Unknown, pattern_steps, steps_of

ENDLESS = {
    "four macros": "lines.all(a, lines.all(b, lines.all(c, lines.all(d, a.kit == d.kit))))",
    "five macros": "lines.all(a, lines.all(b, lines.all(c, lines.all(d, lines.all(e, true)))))",
    "many small lists": "[1,2,3,4,5,6,7,8,9].all(a, " * 6 + "true" + ")" * 6,
    "a text that doubles": '["aa"]' + ".map(x, x + x)" * 30 + "[0].size() > 1",
    "a list that doubles": "[lines]" + ".map(x, x + x)" * 12 + ".size() > 1",
    "lists of lists": "lines.map(a, [a, a, a, a]).map(a, [a, a, a, a]).map(a, [a, a, a, a]).size() > 1",
    "a large pattern": r'order.type.matches("\\w{900}")',
    "counted within counted": 'order.type.matches("(a{1000}){1000}")',
    "a pattern for each line": r'lines.all(a, lines.all(b, a.sku.matches("^\\d+-\\w+$")))',
}
FINE = (
    'order.total_minor > 5000 && destination.country == "US"',
    "lines.all(line, line.quantity > 0)",
    'lines.exists(line, line.handling_classes.exists(c, c == "frozen"))',
    'lines.exists(line, line.category == "x" && line.grams > 500) ? order.units > 3 : order.size < 40',
    'lines.exists_one(line, line.sku == "A-1" || line.sku in ["B", "C"])',
    "size(lines) > 2 && lines[2].kit",
    'customer.known && customer.id.startsWith("vip")',
)
ON_SMALL_ORDERS = (
    "lines.exists(a, lines.exists(b, a.sku != b.sku && a.category == b.category))",
    "lines.filter(line, line.kit).size() > 1",
    "lines.map(line, line.grams).exists(g, g > 10)",
)


def order(lines: int) -> dict[str, Any]:
    line = {
        "sku": "A-1", "quantity": 1, "unit_price_minor": 1, "category": "x", "grams": 9, "handling_classes": ["a"], "group": "",
        "kit": False,
    }  # fmt: skip
    return {
        "lines": [line] * lines,
        "order": {"total_minor": 6000, "units": lines, "size": lines, "type": "x"},
        "customer": {"id": "vip-1", "known": True},
        "destination": {"country": "US"},
    }


@pytest.mark.parametrize("name", ENDLESS)
def test_what_may_take_too_long_is_refused_when_it_is_written(name: str) -> None:
    began = perf_counter()
    with pytest.raises(Wrong, match=r"steps on an order of 20 lines, and 23,000 are allowed\. Nest fewer macros"):
        CelCondition(ENDLESS[name])
    assert perf_counter() - began < 5  # on a busy machine; by itself a millisecond


def test_the_line_is_told_with_it() -> None:
    text = f"name: slow\nstrategies:\n  - name: one\n    when: '{ENDLESS['four macros']}'\n"
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert refused.value.faults[0].pointer == "/line/4"
    assert "steps" in refused.value.faults[0].detail


def test_all_conditions_of_a_profile_together_have_a_bound() -> None:
    one = "lines.all(a, lines.all(b, a.sku == b.sku && a.grams == b.grams && {n} > 0))"
    many = "".join(f"  - name: s{n}\n    when: '{one.format(n=n)}'\n" for n in range(60))
    with pytest.raises(Invalid, match="with the conditions before it"):
        parse(f"name: slow\nstrategies:\n{many}")


def test_a_pattern_is_written_out() -> None:
    with pytest.raises(Wrong, match="a pattern that is written out"):
        CelCondition("order.type.matches(order.channel)")
    with pytest.raises(Wrong, match="a pattern that is written out"):
        CelCondition('order.type.matches("a" + "{900}")')


@pytest.mark.parametrize("source", FINE)
def test_what_goes_through_the_lines_once_runs_on_orders_of_any_size(source: str) -> None:
    condition = CelCondition(source)
    for lines in (1, 3, 300, MAX_LINES):
        assert isinstance(condition.holds(order(lines)), bool) or (lines < 3 and "lines[2]" in source)


@pytest.mark.parametrize("source", ON_SMALL_ORDERS)
def test_what_takes_the_square_of_the_lines_runs_on_small_orders_and_ends_on_large_ones(source: str) -> None:
    condition = CelCondition(source)
    assert isinstance(condition.holds(order(SMALL)), bool)
    large = Asked(order(MAX_LINES))
    answer = condition.answer(large)
    assert isinstance(answer, str)
    assert "was not run on this order" in answer
    assert "steps on 5000 lines" in answer
    assert large.left == IN_ALL * budget(MAX_LINES)  # what is not run takes nothing from others
    assert CelCondition("order.units > 2").answer(large) is True


def test_an_order_has_steps_for_all_its_conditions_together() -> None:
    asked = Asked(order(SMALL))
    costly = "lines.all(a, lines.all(b, a.sku == b.sku && a.grams == b.grams && {n} > 0))"
    answers = [CelCondition(costly.format(n=n)).answer(asked) for n in range(1, 60)]
    assert answers[0] is True
    assert "those before it have used up the steps" in str(answers[-1])
    assert asked.left >= 0
    assert CelCondition(costly.format(n=1)).answer(asked) is True  # found once


def test_steps_never_fall_with_the_lines_and_the_bound_holds_in_between() -> None:
    assert MOST_ORDER_LINES == MAX_LINES
    for source in (*FINE, *ON_SMALL_ORDERS):
        condition, exactly = CelCondition(source), steps_of(source)
        before = 0.0
        for lines in (0, 1, 7, SMALL, 100, 1000, 4000, MAX_LINES):
            assert before <= exactly(lines) <= condition.steps(lines) + 1e-6
            before = exactly(lines)


@pytest.mark.parametrize(
    "source",
    [
        "-1 < 2 && !false", "1 + 2 * 3 - 4 / 2 % 2 == 5", '"a" + \'b\' == r"ab"', '"""x""" == "x"', "[1, 2,][0] == 1",
        '{"a": 1, "b": [2]}["b"][0] == 2', 'has(order.type) ? true : "x" == "y"', "1u + 2u == 3u", "1.5e3 > 0x1F",
        "// why\n true", 'order["type"] == "x"', "(((1))) == 1", "null == null", 'b"ab" != b"c"', '"in" in ["in"]', "1 in [1]",
        '"?" == "." || "," == ")"', "string(1) == '1' && int('2') == 2 && size('abc') == 3",
    ],
)  # fmt: skip
def test_whatever_the_evaluator_reads_has_a_number_of_steps(source: str) -> None:
    assert 0 < steps_of(source)(MAX_LINES) < budget(0)


@pytest.mark.parametrize(
    "source", ["", "1 +", "lines.all(", "a b", "(1", "[1", "lines.all(1, true)", "#", "a.1", "{1}"]
)
def test_what_is_no_expression_has_none(source: str) -> None:
    with pytest.raises(Unknown):
        steps_of(source)


def test_patterns_cost_by_what_they_count_and_by_their_classes() -> None:
    assert pattern_steps("^b2b$") < 150
    assert pattern_steps("a{1000}") > 1000
    assert pattern_steps("(a{100}){100}") > 100 * 100
    assert pattern_steps(r"\w") < pattern_steps(r"\w{10}") < pattern_steps(r"\w{100}")
