"""Routing profiles as documents: what is read, and what is refused, with the line."""

from __future__ import annotations

import json
from typing import Any

import cel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

from ordino.core.errors import Invalid
from ordino.sourcing.condition import CelCondition, Wrong
from ordino.sourcing.contradiction import contradiction
from ordino.sourcing.document import Vocabulary, json_schema, packaged, parse
from ordino.sourcing.model import Need, Request, ShortPolicy
from ordino.sourcing.profile import Fallback, Keep, Partial, Profile, Ranked, Rating

WHOLE = """\
name: stores_after_warehouses
for:
  channels: [web]
  destinations: [US, US-97]
strategies:
  - name: warehouses
    when: order.total_minor >= 5000 && destination.country == "US"
    fences:
      location_types: [warehouse]
      within_km: 800
      tags: {any: [eco], all: [dry], none: [outlet]}
      locations: [W1, W2]
      same_country: true
      capacity_left: 5
      stock_left: 2
      keeps_promise: true
    cost: {carrier: true, handling: false, split_minor: 250, late_minor: 500, last_units: 0.5}
    split: {at_most: 2}
    keep_together: [groups, kits]
  - name: nearest_store
    ranked: [distance, {location_type: [store, warehouse]}, {tag: [eco, dry]}, cost]
    split: never
    partial: take
fallback: short
backlog_days: 3
most_tries: 2
"""


def test_a_whole_profile_is_read() -> None:
    profile = parse(WHOLE, version=7)
    first, second = profile.strategies
    assert (profile.name, profile.version, profile.backlog_days, profile.most_tries) == (
        "stores_after_warehouses",
        7,
        3,
        2,
    )
    assert profile.fallback is Fallback.SHORT
    assert profile.scope.weight == 8 + 1
    assert first.fences.within_km == 800
    assert (first.fences.any_tag, first.fences.all_tags, first.fences.no_tag) == ({"eco"}, {"dry"}, {"outlet"})
    assert (first.fences.capacity_left, first.fences.stock_left, first.fences.keeps_promise) == (5, 2, True)
    assert (first.cost.handling, first.cost.split_minor, first.cost.last_units) == (False, 250, 0.5)
    assert (first.most_locations, first.keep) == (2, {Keep.GROUPS, Keep.KITS})
    assert second.ranked[1] == Ranked(Rating.LOCATION_TYPE, ("store", "warehouse"))
    assert (second.most_locations, second.partial) == (1, Partial.TAKE)
    assert profile.looks_ahead


def test_json_is_read_as_well() -> None:
    text = json.dumps(
        {"name": "n", "strategies": [{"name": "s", "when": "order.units > 1", "split": {"at_most": 2}}]}, indent=1
    )
    assert parse(text).strategies[0].most_locations == 2


def test_the_packaged_profile_is_least_cost() -> None:
    profile = parse(packaged())
    assert (profile.name, [s.name for s in profile.strategies]) == ("least_cost", ["cheapest"])


def faults(text: str, vocabulary: Vocabulary | None = None) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse(text, vocabulary)
    return [fault.detail for fault in caught.value.faults]


def in_strategy(text: str) -> str:
    return f"name: n\nstrategies:\n  - name: s\n    {text}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: [", "Line 1: this is not YAML"),
        ("just words", "Line 1: a profile is a mapping"),
        ("strategies: []", "Line 1: give a profile a `name`"),
        ("name: n\nstrategies: []", "Line 2: `strategies` is a list of 1 to 100"),
        ("name: n\nstrategy: []", "Line 2: a profile has no field 'strategy' (is 'strategies' meant?)"),
        ("name: n\nname: m\nstrategies: [{name: s}]", "Line 2: 'name' stands twice"),
        ("name: n\nstrategies: [{name: s}]\nfallback: maybe", "Line 3: `fallback` is most_units or short"),
        ("name: n\nstrategies: [{name: s}]\nbacklog_days: -1", "Line 3: `backlog_days` is a whole number from 0 to 60"),
        ("name: n\nfor: {destinations: [usa]}\nstrategies: [{name: s}]", "Line 2: 'usa' is no destination"),
        (in_strategy("fences: {within_miles: 5}"), "Line 4: `fences` has no fence 'within_miles' (is 'within_km' meant?)"),
        (in_strategy("fences: {location_types: [shop]}"), "there is no 'shop'; there are warehouse, distribution_center"),
        (in_strategy("fences: {location_types: []}"), "Line 4: `location_types` names nothing"),
        (in_strategy("fences: {stock_left: -2}"), "Line 4: `stock_left` is a whole number from 0"),
        (in_strategy("fences: {same_country: perhaps}"), "Line 4: `same_country` is true or false"),
        (in_strategy("fences: {within_km: .inf}"), "Line 4: `within_km` is a number from 0 to 50000"),
        (in_strategy("cost: {split_minor: -200}"), "Line 4: `split_minor` is a whole number from 0"),
        (in_strategy("cost: {last_units: -1}"), "Line 4: `last_units` is a number from 0"),
        (in_strategy("cost: {capacity_from: 2}"), "Line 4: `capacity_from` is a number from 0 to 1"),
        (in_strategy("cost: {weight: 2}"), "`cost` has no term of cost 'weight'"),
        (in_strategy("cost: {stock_out_minor: 5, safe_weeks: 0}"), "`safe_weeks` is more than 0"),
        (in_strategy("cost: {carrier: true}\n    ranked: [distance]"), "Line 5: a strategy rates by `cost` or is `ranked`"),
        (in_strategy("ranked: [distanz]"), "Line 4: there is no rating 'distanz' (is 'distance' meant?)"),
        (in_strategy("ranked: [location_type]"), "Line 4: `location_type` needs a list"),
        (in_strategy("ranked: [{distance: [a]}]"), "`distance` takes no list"),
        (in_strategy("ranked: [{location_type: [stor]}]"), "no location type 'stor' (is 'store' meant?)"),
        (in_strategy("split: {at_most: 0}"), "`at_most` is a whole number from 1"),
        (in_strategy("split: sometimes"), "Line 4: `split` is never, by_cost, in_rank_order or {at_most: 2}"),
        (in_strategy("keep_together: [friends]"), "there is no 'friends'; there are lines, groups or kits"),
        (in_strategy("partial: some"), "`partial` is next or take"),
        (in_strategy("when: order.total_minor"), "Line 4: `when`: `order.total_minor` is no yes or no, but int"),
        (in_strategy('when: order.total_minor > "x"'), "Line 4: `when`: the types do not fit"),
        (in_strategy("when: order.totl_minor > 5"), "order has no 'totl_minor' (is 'total_minor' meant?)"),
        (in_strategy("when: oder.total_minor > 5"), "there is no 'oder' (is 'order' meant?)"),
        (in_strategy("when: order.units > 5 &&"), "Line 4: `when`: this is no expression"),
        (in_strategy("when: lines.quantity > 5"), "`lines` is a list: write lines.exists(line, line.quantity"),
        (in_strategy("when: lines.exists(l, l.qantity > 5)"), "l has no 'qantity' (is 'quantity' meant?)"),
        (in_strategy('when: order.promised && order.units == "2"'), "the types do not fit"),
        (in_strategy('when: destination.country == "US" && (order.promised || order.units)'), "is no yes or no"),
        (in_strategy("when: 'false'"), "can never match: its condition is false for every order"),
        (in_strategy("when: order.units / 0 > 1"), "Line 4: `when`: `order.units / 0 > 1` fails on some orders: division by zero"),
        (in_strategy("when: 10 / (order.units - 3) > 1"), "fails on some orders: division by zero"),
        (in_strategy("when: lines[5].quantity > 1"), "fails on some orders"),
        (in_strategy("when: int(destination.postal_code) > 5000"), "fails on some orders"),
        (in_strategy("when: order.promised && customer.id.matches('(((')"), "not a valid regex"),
        (in_strategy("when: order.units > 3 && order.units < 4"), "'s' can never match: no order has such a `order.units`"),
        (in_strategy("when: order.units < 1"), "'s' can never match"),
        (in_strategy("when: clock.hour >= 24 || clock.weekday == 0"), "'s' can never match"),
        (in_strategy("when: order.channel == 'a' && (order.units > 2 && order.channel == 'b')"), "'s' can never match"),
        (in_strategy("when: order.promised && !order.promised"), "'s' can never match"),
        (in_strategy("when: clock.weekday >= 6 && clock.weekday != 6 && clock.weekday != 7"), "'s' can never match"),
        (in_strategy("when: 1 > 2"), "can never match: its condition is false for every order"),
        (in_strategy("fences: {tags: {all: [a], none: [a]}}"), "can never match: 'a' is wanted and unwanted"),
        (in_strategy("fences: {tags: {any: [a], none: [a, b]}}"), "can never match: every tag that it wants is unwanted"),
        ("name: n\nstrategies:\n  - name: s\n  - name: s\n    split: never", "there is a strategy 's' already"),
        ("name: n\nstrategies:\n  - name: s\n  - name: t\n    split: never", "Line 4: 't' can never give anything that 's' could not"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(text: str, said: str) -> None:
    told = faults(text)
    assert any(said in one for one in told), told


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = "name: n\nstrategies:\n  - name: a\n    split: x\n  - name: b\n    when: nope\n    partial: y\n"
    lines = [one.split(":")[0] for one in faults(text)]
    assert lines == ["Line 4", "Line 6", "Line 7"]


def test_codes_that_do_not_exist_are_refused_where_codes_are_known() -> None:
    known = Vocabulary(frozenset({"W1"}), frozenset({"eco"}), frozenset({"web"}), frozenset({"acme"}))
    told = faults(WHOLE, known)
    assert any("`locations`: there is no 'W2'" in one for one in told)
    assert any("`all`: there is no 'dry'" in one for one in told)
    assert faults("name: n\nfor: {channels: [wob]}\nstrategies: [{name: s}]", known) == [
        "Line 2: `channels`: there is no 'wob' (is 'web' meant?)."
    ]


def test_a_later_strategy_that_is_looser_is_reachable() -> None:
    text = "name: n\nstrategies:\n  - {name: s, split: never}\n  - {name: t, split: {at_most: 3}}\n  - {name: u}\n"
    assert [s.most_locations for s in parse(text).strategies] == [1, 3, None]


def request(**changes: Any) -> Request:
    from datetime import UTC, datetime
    from uuid import UUID

    from msgspec.structs import replace

    from ordino.network.facts import Serving

    plain = Request(
        UUID(int=1), Serving(1, "n", {}), "US", "97201", datetime(2026, 11, 27, 8, 30, tzinfo=UTC),
        (Need(1, 1, 2, 400, sku="tea", category="Food", unit_price_minor=900, classes=("frozen",)), Need(2, 2, 1, 100, sku="pot")),
        ShortPolicy.REFUSE, channel="web", seller="acme", total_minor=4200, currency="USD", region="OR", city="Portland",
    )  # fmt: skip
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ("order.total_minor >= 4200", True),
        ('order.channel == "web" && order.seller in ["acme", "other"]', True),
        ("order.units == 3 && order.size == 2 && order.grams == 900", True),
        ("order.promised || order.service_level != ''", False),
        ('lines.exists(line, line.sku == "tea" && line.quantity > 1)', True),
        ('lines.all(line, "frozen" in line.handling_classes)', False),
        ('destination.postal_code.startsWith("97") && destination.region == "OR"', True),
        ("clock.weekday == 5 && clock.hour >= 8 && clock.month == 11", True),
        ("customer.known", False),
        ("size(lines) > 1", True),
    ],
)
def test_conditions_are_asked_about_the_order(source: str, answer: bool) -> None:
    assert CelCondition(source).holds(request().facts()) is answer


def test_a_condition_that_fails_on_an_order_says_so_and_does_not_raise() -> None:
    condition = CelCondition("order.total_minor / (order.size - order.units + 1) > 5")
    said = condition.holds(request().facts())
    assert isinstance(said, str)
    assert "failed on this order: division by zero" in said


def test_strict_rank_order_is_said_under_split_and_needs_ratings() -> None:
    [plain] = parse(in_strategy("ranked: [distance]\n    split: in_rank_order")).strategies
    assert (plain.in_rank_order, plain.most_locations) == (True, None)
    [limited] = parse(in_strategy("ranked: [distance]\n    split: {at_most: 2, in_rank_order: true}")).strategies
    assert (limited.in_rank_order, limited.most_locations) == (True, 2)
    [few] = parse(in_strategy("ranked: [distance]\n    split: {at_most: 2}")).strategies
    assert (few.in_rank_order, few.most_locations) == (False, 2)
    for without in ("split: in_rank_order", "split: {in_rank_order: true}", "cost: {}\n    split: in_rank_order"):
        assert any("`in_rank_order` needs ratings to rank by" in one for one in faults(in_strategy(without))), without
    assert any("no field 'in_rank'" in one for one in faults(in_strategy("ranked: [cost]\n    split: {in_rank: true}")))


def test_a_strategy_after_one_that_takes_in_rank_order_may_give_more() -> None:
    text = "name: n\nstrategies:\n  - name: a\n    ranked: [distance]\n    split: {split}\n  - name: b\n    split: {{at_most: 2}}\n"
    assert parse(text.format(split="{at_most: 2, in_rank_order: true}"))
    assert any("can never give anything" in one for one in faults(text.format(split="{at_most: 2}")))
    assert any("can never give anything" in one for one in faults(text.format(split="in_rank_order")))


def test_the_schema_and_the_reader_agree() -> None:
    import yaml

    schema = json_schema()
    validator = Draft202012Validator(schema)
    assert not list(validator.iter_errors(yaml.safe_load(WHOLE)))
    assert not list(validator.iter_errors(yaml.safe_load(packaged())))
    for right in (
        "ranked: [cost]\n    split: in_rank_order",
        "ranked: [cost]\n    split: {at_most: 2, in_rank_order: true}",
    ):
        assert not list(validator.iter_errors(yaml.safe_load(in_strategy(right)))), right
    for wrong in (
        "split: sometimes",
        "split: {}",
        "ranked: [location_type]",
        "cost: {split_minor: -1}",
        "fences: {nope: 1}",
    ):
        text = in_strategy(wrong)
        assert list(validator.iter_errors(yaml.safe_load(text))), wrong
        assert faults(text)
    strategy = schema["properties"]["strategies"]["items"]["properties"]
    for name in strategy["fences"]["properties"]:  # each is known to the reader, too
        assert not any("no fence" in one for one in faults(in_strategy(f"fences: {{{name}: !!binary x}}")))


def assert_told(refused: Exception) -> None:
    assert str(refused)


@given(st.text(alphabet=st.sampled_from("name: strategies\n -[]{}'\"#&*!|>%@`,x1"), max_size=80) | st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(parse(text), Profile)
    except Invalid as refused:
        assert_told(refused)


@given(st.text(alphabet=st.sampled_from('order.units&|=!()<>"1 linesxm,[]'), max_size=40))
def test_any_expression_is_compiled_or_refused(source: str) -> None:
    try:
        condition = CelCondition(source)
    except Wrong as refused:
        assert_told(refused)
    else:
        assert condition.holds(request().facts()) in (True, False) or isinstance(
            condition.holds(request().facts()), str
        )


@pytest.mark.parametrize(
    "source",
    [
        "size(lines) > 5 && lines[5].quantity > 1",
        "destination.postal_code.matches('^[0-9]+$') && int(destination.postal_code) > 5000",
        "order.total_minor / order.units > 1000",
        "lines[order.size - 1].kit",
        "order.units > 3 || order.units < 2",
        "order.channel == 'a' && order.channel != 'b'",
        "!(order.units > 3 && order.units < 2)",
        "order.service_level == 'a && b' && order.promised",
        "lines.exists(l, l.quantity > 3) && lines.exists(l, l.quantity < 2)",
        "clock.date >= '2026-11-01' && clock.date < '2026-12-01'",
    ],
)
def test_conditions_that_may_hold_and_ask_first_are_accepted(source: str) -> None:
    assert parse(in_strategy(f'when: "{source}"'))


def test_what_the_scope_of_a_profile_leaves_is_known_to_its_conditions() -> None:
    for scope, condition in (
        ("channels: [web]", "order.channel == 'shop'"),
        ("destinations: [US-97]", "destination.country == 'CA'"),
    ):
        text = f"name: n\nfor: {{{scope}}}\nstrategies:\n  - name: s\n    when: {condition}\n"
        assert "'s' can never match" in faults(text)[0]
        assert parse(text.replace(f"for: {{{scope}}}\n", ""))


@given(st.data())
def test_a_contradiction_is_one(data: st.DataObject) -> None:
    """Where it says that nothing holds, no number and no text makes the condition hold."""
    number = st.builds(
        "order.units {} {}".format, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), st.integers(0, 4)
    )
    text = st.builds("order.channel {} '{}'".format, st.sampled_from(["==", "!="]), st.sampled_from("ab"))
    yes = st.sampled_from(["order.promised", "!order.promised"])
    tree = st.recursive(
        number | text | yes, lambda t: st.builds("({} {} {})".format, t, st.sampled_from(["&&", "||"]), t), max_leaves=6
    )
    source = data.draw(tree)
    worlds = [
        {"order": {"units": units, "channel": channel, "promised": promised}}
        for units in range(1, 6) for channel in "abc" for promised in (True, False)
    ]  # fmt: skip
    program = cel.compile(source)
    if contradiction(source) is not None:
        assert not any(program.execute(world) for world in worlds)
