"""Carriers, locations and profiles that cost in other currencies than the order: converted by the rate of the day, or told by name."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction
from uuid import UUID

import msgspec
import pytest

from ordino.core.money import amount, converted, decimals
from ordino.network.exchange import Rates, in_words
from ordino.network.facts import Location, NetworkFacts
from ordino.network.rates import Service
from ordino.sourcing.decide import decide
from ordino.sourcing.document import parse
from ordino.sourcing.exact import exact
from ordino.sourcing.model import Decision, Fence, Need, Outlook, Request
from ordino.sourcing.profile import Cost, Profile, Strategy
from ordino.sourcing.why import why
from paper import FAR_3, GROUND, MONDAY_NOON, NEAR_1, NEAR_2, location, request

PLAIN = Profile("p", strategies=(Strategy("s"),))
RATES = Rates(
    [
        ("KWD", "USD", date(2026, 1, 1), "3.25"),
        ("USD", "JPY", date(2026, 1, 1), "150"),
        ("JPY", "KWD", date(2026, 1, 1), "0.002"),
    ]
)


def service(service_id: int, currency: str, minor: int) -> Service:
    zone = msgspec.structs.replace(GROUND.zones[1], costs=(minor, minor))
    return msgspec.structs.replace(
        GROUND, service_id=service_id, code=currency, currency=currency, zones=(zone,), lanes={}
    )


def network(*services: Service, at: tuple[Location, ...] = (NEAR_1,), rates: Rates = RATES) -> NetworkFacts:
    places = {("US", "10001"): (40.0, -74.0)}
    return NetworkFacts(
        {place.location_id: place for place in at}, {s.service_id: s for s in services}, {}, {}, places, rates=rates
    )


def asked(currency: str, *needs: tuple[int, int], **more: object) -> Request:
    return request(*(needs or ((7, 1),)), currency=currency, buffers={1: 0, 2: 0, 3: 0}, **more)


def decided(
    by: Request, facts: NetworkFacts, profile: Profile = PLAIN, stock: dict[int, int] | None = None
) -> Decision:
    [decision] = decide([by], {7: stock or {1: 9}}, facts, profile)
    return decision


# -- money -------------------------------------------------------------------------------------------------------------------


def test_amounts_have_the_decimals_of_their_currency() -> None:
    assert [amount(300, currency) for currency in ("USD", "JPY", "KWD", "CLF")] == [
        "3.00 USD",
        "300 JPY",
        "0.300 KWD",
        "0.0300 CLF",
    ]
    assert [decimals(currency) for currency in ("EUR", "KRW", "TND", "XXX")] == [2, 0, 3, 2]


def test_a_converted_amount_is_rounded_half_to_even() -> None:
    assert converted(300, Fraction("3.25"), "KWD", "USD") == 98  # 0.975
    assert converted(100, Fraction("1.005"), "EUR", "USD") == 100  # 100.5
    assert converted(300, Fraction("1.005"), "EUR", "USD") == 302  # 301.5
    assert converted(123, Fraction(150), "USD", "JPY") == 184  # 184.5
    assert converted(1, Fraction(1), "USD", "USD") == 1


def test_a_rate_holds_from_its_day_until_the_next_one() -> None:
    rates = Rates([("EUR", "USD", date(2026, 3, 1), "1.1"), ("EUR", "USD", date(2026, 3, 2), "1.2")])
    assert rates.rate("EUR", "USD", MONDAY_NOON) == Fraction("1.2")
    assert rates.rate("EUR", "USD", MONDAY_NOON - timedelta(days=1)) == Fraction("1.1")
    assert rates.rate("EUR", "USD", MONDAY_NOON - timedelta(days=2)) is None
    assert rates.rate("USD", "EUR", MONDAY_NOON) == Fraction(5, 6)  # the inverse, exactly
    assert in_words(Fraction(5, 6)) == "0.833333333333"
    assert rates.rate("EUR", "JPY", MONDAY_NOON) is None
    both = Rates([("EUR", "USD", date(2026, 3, 1), "1.1"), ("USD", "EUR", date(2026, 3, 1), "0.9")])
    assert both.rate("USD", "EUR", MONDAY_NOON) == Fraction("0.9")  # what is said goes before the inverse


# -- the decision ------------------------------------------------------------------------------------------------------------


def test_the_carrier_that_is_cheaper_in_the_order_s_currency_wins() -> None:
    # 0.300 KWD are 0.98 USD; 120 JPY are 0.80 USD; 0.90 USD. Compared as numbers, 90 would win over 120 and 300
    facts = network(service(1, "KWD", 300), service(2, "JPY", 120), service(3, "USD", 90))
    usd = decided(asked("USD"), facts)
    assert (usd.legs[0].service_id, usd.legs[0].carrier_cost_minor) == (2, 80)
    # in yen: 0.300 KWD / 0.002 = 150; 120; 135
    yen = decided(asked("JPY"), facts)
    assert (yen.legs[0].service_id, yen.legs[0].carrier_cost_minor) == (2, 120)
    # in dinars of 1,000 fils: 300; 120 x 0.002 = 0.240; 0.90 / 3.25 = 0.277
    dinar = decided(asked("KWD"), facts)
    assert (dinar.legs[0].service_id, dinar.legs[0].carrier_cost_minor) == (2, 240)


def test_a_carrier_in_the_order_s_currency_needs_no_rate() -> None:
    facts = network(service(1, "USD", 90), rates=Rates())
    assert facts.priced_in("USD", MONDAY_NOON) is facts
    decision = decided(asked("USD"), facts)
    assert (decision.legs[0].carrier_cost_minor, decision.explanation.exchange_rates) == (90, ())


def test_handling_costs_count_in_the_order_s_currency() -> None:
    # 0.100 KWD are 0.33 USD, 1.00 USD is 1.00 USD: the first is cheaper though the numbers are the same
    sites = (location(1, 40.2, currency="USD"), location(2, 40.1, currency="KWD"))
    facts = network(service(1, "USD", 300), at=sites)
    decision = decided(asked("USD"), facts, stock={1: 9, 2: 9})
    assert (decision.legs[0].location_id, decision.legs[0].handling_cost_minor) == (2, 32)  # 32.5, half to even
    assert decision.explanation.terms == {"carrier": 300, "handling": 32}
    # without a currency, handling costs are in the order's
    facts = network(service(1, "USD", 300), at=(NEAR_1,))
    assert decided(asked("USD"), facts).legs[0].handling_cost_minor == 100


def test_without_a_rate_a_carrier_is_no_choice_and_a_fence_says_so() -> None:
    facts = network(service(1, "EUR", 1))
    decision = decided(asked("USD"), facts)
    assert decision.refused
    assert decision.explanation.candidates[0].fence is Fence.NO_EXCHANGE_RATE
    said = why(decision.explanation, facts, {7: "seven"}, "USD").sentence
    assert "no exchange rate from the currency of its costs to the currency of the order" in said
    beside = network(service(1, "EUR", 1), service(2, "USD", 500))
    assert decided(asked("USD"), beside).legs[0].service_id == 2


def test_without_a_rate_a_location_is_no_choice_and_a_fence_says_so() -> None:
    sites = (location(1, 40.1, currency="EUR"), location(2, 40.2, currency="USD"))
    facts = network(service(1, "USD", 300), at=sites)
    decision = decided(asked("USD"), facts, stock={1: 9, 2: 9})
    assert decision.legs[0].location_id == 2
    [stopped] = [one for one in decision.explanation.candidates if one.location_id == 1]
    assert stopped.fence is Fence.NO_EXCHANGE_RATE
    # one whose handling costs nothing needs no rate
    free = network(service(1, "USD", 300), at=(location(1, 40.1, currency="EUR", handling_cost_minor=0), sites[1]))
    assert decided(asked("USD"), free, stock={1: 9, 2: 9}).legs[0].location_id == 1


def test_the_rates_that_were_used_are_told() -> None:
    facts = network(service(1, "KWD", 300))
    decision = decided(asked("USD"), facts)
    assert decision.explanation.exchange_rates == (("KWD", "3.25"),)
    told = why(decision.explanation, facts, {7: "seven"}, "USD")
    assert told.exchange_rates == {"KWD": "3.25"}
    assert "Costs in other currencies were converted (1 KWD = 3.25 USD)." in told.sentence


def test_a_rate_that_begins_later_does_not_count_yet() -> None:
    rates = Rates([("KWD", "USD", date(2026, 3, 2), "3"), ("KWD", "USD", date(2026, 3, 3), "4")])
    facts = network(service(1, "KWD", 1000), rates=rates)
    assert decided(asked("USD"), facts).legs[0].carrier_cost_minor == 300
    assert decided(asked("USD", at=MONDAY_NOON + timedelta(days=1)), facts).legs[0].carrier_cost_minor == 400


@pytest.mark.parametrize(("currency", "split"), [("USD", 200), ("JPY", 300), ("KWD", 615)])
def test_the_money_of_a_profile_with_a_currency_is_converted(currency: str, split: int) -> None:
    # 2.00 USD are 300 JPY, and 2 / 3.25 = 0.615 KWD
    facts = network(service(1, currency, 0), at=(NEAR_1, NEAR_2))
    by = Profile("p", strategies=(Strategy("s", cost=Cost(handling=False, split_minor=200)),), currency="USD")
    decision = decided(asked(currency, (7, 2)), facts, by, {1: 1, 2: 1})
    assert decision.explanation.terms == {"split": split}
    own = msgspec.structs.replace(by, currency=None)
    assert decided(asked(currency, (7, 2)), facts, own, {1: 1, 2: 1}).explanation.terms == {"split": 200}


def test_a_profile_whose_money_cannot_be_converted_is_passed_over_and_says_why() -> None:
    facts = network(service(1, "USD", 300))
    by = Profile("p", strategies=(Strategy("s"),), currency="EUR")
    decision = decided(asked("USD"), facts, by)
    assert decision.refused
    assert decision.explanation.looks[0].passed is not None
    assert "no exchange rate from EUR to USD" in decision.explanation.looks[0].passed
    free = Profile("p", strategies=(Strategy("s", cost=Cost(split_minor=0)),), currency="EUR")
    assert not decided(asked("USD"), facts, free).refused


def test_what_last_units_are_worth_counts_in_the_order_s_currency() -> None:
    # a unit less costs 0.300 KWD in the first location: 98 cents; in the second one 50 JPY: 33 cents
    facts = network(service(1, "USD", 300), at=(NEAR_1, NEAR_2))
    outlook = Outlook({}, {(7, 1): 300, (7, 2): 50}, {(7, 1): "KWD", (7, 2): "JPY"})
    by = Profile("p", strategies=(Strategy("s", cost=Cost(last_units=1.0)),))
    [decision] = decide([asked("USD")], {7: {1: 9, 2: 9}}, facts, by, outlook=outlook)
    assert (decision.legs[0].location_id, decision.explanation.terms["last_units"]) == (2, 33)
    own = Outlook({}, {(7, 1): 300, (7, 2): 350})
    [decision] = decide([asked("USD")], {7: {1: 9, 2: 9}}, facts, by, outlook=own)
    assert (decision.legs[0].location_id, decision.explanation.terms["last_units"]) == (1, 300)


def test_the_currency_of_a_profile_is_read_and_checked() -> None:
    text = "name: n\n{}strategies:\n  - name: s\n"
    assert parse(text.format("currency: USD\n")).currency == "USD"
    assert parse(text.format("")).currency is None
    with pytest.raises(Exception, match="Line 2: `currency` is an ISO 4217 code such as USD"):
        parse(text.format("currency: USDT\n"))


# -- sets in several currencies ------------------------------------------------------------------------------------------------


def _set(second: str) -> tuple[list[Request], dict[int, dict[int, int]], NetworkFacts]:
    """Together, the second order would rather have the first one's unit: see ``test_exact``."""
    near = msgspec.structs.replace(GROUND, lanes={})
    facts = network(near, at=(NEAR_1, FAR_3))
    first = request((7, 1), request_id=UUID(int=1), currency="USD")
    other = request(request_id=UUID(int=2), currency=second, needs=(Need(1, 7, 1, 400, True), Need(2, 8, 1, 400, True)))
    return [first, other], {7: {1: 1, 3: 5}, 8: {1: 1}}, facts


def test_orders_of_different_currencies_do_not_give_way_to_each_other() -> None:
    same, stock, facts = _set("USD")
    solved = exact(same, stock, facts, PLAIN)
    assert solved.improved
    mixed, stock, facts = _set("JPY")
    one_by_one = decide(mixed, stock, facts, PLAIN)
    assert decide(mixed, stock, facts, PLAIN, exchange=False) == one_by_one
    apart = exact(mixed, stock, facts, PLAIN)
    assert ([d.legs for d in apart.decisions], apart.improved) == ([d.legs for d in one_by_one], False)
