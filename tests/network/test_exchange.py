"""Exchange rates are kept by their day, and costs that nobody could compare are refused where they are written."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from fractions import Fraction
from uuid import uuid4

import pytest
from msgspec.structs import replace

from ordino.catalog.model import Channel, Seller
from ordino.catalog.upsert import upsert_channels, upsert_sellers
from ordino.core.database import Database
from ordino.core.upserts import Created, NotUpserted, Outcome, Reason, Unchanged, Updated
from ordino.network import read
from ordino.network.api import routes
from ordino.network.exchange import ExchangeRate, all_rates, upsert_exchange_rates
from ordino.network.facts import facts
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks
from steps import client, in_one
from world import World, parcel_service, small_world

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)


def rate(currency: str, into: str, value: str, on: date = date(2026, 3, 1)) -> ExchangeRate:
    return ExchangeRate(from_currency=currency, to_currency=into, rate=value, valid_from=on)


@pytest.fixture
async def world(database: Database) -> World:
    await database.pool.execute("DELETE FROM network.exchange_rates")
    await database.pool.execute("UPDATE network.carrier_services SET active = false")
    await database.pool.execute("DELETE FROM network.channel_networks")
    return await small_world(database, prefix=f"{uuid4().hex[:8]}-", locations=2, stock={})


async def seller(database: Database, world: World, currency: str) -> str:
    """A channel that sells in a currency."""
    code = f"{world.seller}-{currency}"
    await in_one(database, upsert_sellers, [Seller(code=code, name="S", currency=currency)], AT)
    await in_one(database, upsert_channels, [Channel(code=code, name="C", seller=code)], AT)
    return code


async def test_a_rate_is_kept_by_its_currencies_and_its_day(database: Database, world: World) -> None:
    one = rate("KWD", "USD", "3.25")
    assert await in_one(database, upsert_exchange_rates, [one, one], AT) == [Created(one.code), Unchanged(one.code)]
    assert one.code == "KWD-USD/2026-03-01"
    same, other = rate("KWD", "USD", "3.2500"), rate("KWD", "USD", "3.26")
    outcomes = await in_one(database, upsert_exchange_rates, [same, other], AT)
    assert outcomes == [Unchanged(one.code), Updated(one.code)]
    later = rate("KWD", "USD", "3.3", date(2026, 3, 5))
    assert await in_one(database, upsert_exchange_rates, [later], AT) == [Created(later.code)]
    rates = await database.read(all_rates)
    assert rates.rate("KWD", "USD", AT) == Fraction("3.26")
    assert (await database.read(facts)).rates.rate("KWD", "USD", datetime(2026, 3, 5, tzinfo=UTC)) == Fraction("3.3")


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        (rate("XXY", "USD", "1"), "/from_currency"),
        (rate("USD", "USDT", "1"), "/to_currency"),
        (rate("USD", "USD", "1"), "/to_currency"),
        (rate("USD", "JPY", "0"), "/rate"),
        (rate("USD", "JPY", "-1"), "/rate"),
        (rate("USD", "JPY", "1e3"), "/rate"),
    ],
)
async def test_a_rate_that_is_none_is_refused(
    database: Database, world: World, wrong: ExchangeRate, pointer: str
) -> None:
    [outcome] = await in_one(database, upsert_exchange_rates, [wrong], AT)
    assert isinstance(outcome, NotUpserted)
    assert (outcome.reason, outcome.pointer) == (Reason.INVALID, pointer)


async def test_rates_come_over_http_in_json_and_csv(database: Database, world: World) -> None:
    async with client(database, routes) as http:
        one = {"from_currency": "USD", "to_currency": "JPY", "rate": "149.25", "valid_from": "2026-03-01"}
        assert (await http.put("/v1/exchange_rates", json=one)).json() == {
            "outcome": "created",
            "code": "USD-JPY/2026-03-01",
        }
        csv = "from_currency,to_currency,rate,valid_from\nEUR,USD,1.08,2026-03-01\nEUR,USD,x,2026-03-02\n"
        loaded = await http.put("/v1/exchange_rates", content=csv, headers={"content-type": "text/csv"})
        assert '"/rate"' in loaded.text
        found = (await http.get("/v1/exchange_rates", params={"limit": 1})).json()
        assert found["exchange_rates"] == [
            {"from_currency": "EUR", "to_currency": "USD", "rate": "1.08", "valid_from": "2026-03-01"}
        ]
        assert (await http.get("/v1/exchange_rates", params={"after": found["next"]})).json() == {
            "exchange_rates": [one],
            "next": None,
        }


def conflict(outcome: Outcome, pointer: str) -> str:
    assert isinstance(outcome, NotUpserted), outcome
    assert (outcome.reason, outcome.pointer) == (Reason.CONFLICT, pointer)
    return outcome.detail


async def test_a_carrier_in_a_currency_without_a_rate_is_refused(database: Database, world: World) -> None:
    service = replace(parcel_service(f"{world.service}-kwd"), currency="KWD")
    [refused] = await in_one(database, upsert_carrier_services, [service], AT)
    said = conflict(refused, "/currency")
    assert "sells in USD, but there is no exchange rate from KWD to USD for today" in said
    assert "PUT /v1/exchange_rates" in said
    assert not await database.read(lambda tx: read.carrier_services(tx, [service.code]))
    # one that begins tomorrow is none; the opposite one will do
    await in_one(database, upsert_exchange_rates, [rate("KWD", "USD", "3.25", date(2026, 3, 3))], AT)
    conflict((await in_one(database, upsert_carrier_services, [service], AT))[0], "/currency")
    await in_one(database, upsert_exchange_rates, [rate("USD", "KWD", "0.31")], AT)
    assert await in_one(database, upsert_carrier_services, [service], AT) == [Created(service.code)]
    # what stands is not asked again
    await database.pool.execute("DELETE FROM network.exchange_rates")
    dearer = replace(service, max_grams=29_000)
    assert await in_one(database, upsert_carrier_services, [dearer], AT) == [Updated(service.code)]


async def test_an_inactive_carrier_may_cost_in_any_currency(database: Database, world: World) -> None:
    service = replace(parcel_service(f"{world.service}-kwd"), currency="KWD", active=False)
    assert await in_one(database, upsert_carrier_services, [service], AT) == [Created(service.code)]
    conflict((await in_one(database, upsert_carrier_services, [replace(service, active=True)], AT))[0], "/currency")


async def test_a_location_in_a_currency_without_a_rate_is_refused(database: Database, world: World) -> None:
    [was] = await database.read(lambda tx: read.locations(tx, [world.location]))
    told = replace(was, currency="EUR")
    said = conflict((await in_one(database, upsert_locations, [told], AT))[0], "/currency")
    assert "The handling costs of" in said
    assert "from EUR to USD" in said
    free = replace(told, handling_cost_minor=0)
    assert await in_one(database, upsert_locations, [free], AT) == [Updated(world.location)]
    await in_one(database, upsert_exchange_rates, [rate("EUR", "USD", "1.08")], AT)
    assert await in_one(database, upsert_locations, [told], AT) == [Updated(world.location)]
    assert await database.read(lambda tx: read.locations(tx, [world.location])) == [told]
    # one that no network has may cost what it likes
    alone = replace(told, code=f"{world.location}-alone", currency="THB")
    assert await in_one(database, upsert_locations, [alone], AT) == [Created(alone.code)]


async def test_a_network_sells_in_no_currency_into_which_nobody_can_convert(database: Database, world: World) -> None:
    yen = await seller(database, world, "JPY")
    [network] = await database.read(lambda tx: read.networks(tx, [world.network]))
    both = replace(network, channels=[*network.channels, yen])
    said = conflict((await in_one(database, upsert_networks, [both], AT))[0], f"/channels/{len(network.channels)}")
    assert "no exchange rate from USD to JPY" in said
    await in_one(database, upsert_exchange_rates, [rate("USD", "JPY", "150")], AT)
    # handling costs without a currency mean dollars here and yen there
    said = conflict((await in_one(database, upsert_networks, [both], AT))[0], "/members/0/location")
    assert "Say the `currency` of the location" in said
    sites = await database.read(lambda tx: read.locations(tx, world.locations))
    await in_one(database, upsert_locations, [replace(one, currency="USD") for one in sites], AT)
    assert await in_one(database, upsert_networks, [both], AT) == [Updated(world.network)]
    # a member that costs in a third one
    euro = replace(sites[0], code=f"{world.location}-eur", currency="EUR")
    assert await in_one(database, upsert_locations, [euro], AT) == [Created(euro.code)]
    more = replace(both, members=[*both.members, replace(both.members[0], location=euro.code)])
    conflict((await in_one(database, upsert_networks, [more], AT))[0], f"/members/{len(both.members)}/location")


async def test_a_seller_changes_to_no_currency_into_which_nobody_can_convert(database: Database, world: World) -> None:
    franc = Seller(code=world.seller, name="Seller", currency="CHF")
    said = conflict((await in_one(database, upsert_sellers, [franc], AT))[0], "/currency")
    assert "no exchange rate from USD to CHF for today" in said
    assert (await database.read(facts)).channels[world.channel].currency == "USD"
    await in_one(database, upsert_exchange_rates, [rate("USD", "CHF", "0.9")], AT)
    # beside one that is refused, others are written: one that nobody serves may sell in any currency
    alone = Seller(code=f"{world.seller}-alone", name="S", currency="USD")
    await in_one(database, upsert_sellers, [alone], AT)
    outcomes = await in_one(
        database, upsert_sellers, [replace(franc, currency="NOK"), replace(alone, currency="NOK"), franc], AT
    )
    conflict(outcomes[0], "/currency")
    assert outcomes[1:] == [Updated(alone.code), Updated(franc.code)]
    # another seller of the same network: handling costs without a currency would mean both
    other = await seller(database, world, "CHF")
    [network] = await database.read(lambda tx: read.networks(tx, [world.network]))
    both = replace(network, channels=[*network.channels, other])
    assert await in_one(database, upsert_networks, [both], AT) == [Updated(world.network)]
    said = conflict((await in_one(database, upsert_sellers, [replace(franc, currency="USD")], AT))[0], "/currency")
    assert "its networks sell in CHF, USD. Say the `currency` of the location" in said


async def test_handling_costs_without_a_currency_do_not_serve_two_networks_of_two_currencies(
    database: Database, world: World
) -> None:
    await in_one(database, upsert_exchange_rates, [rate("USD", "JPY", "150")], AT)
    yen = await seller(database, world, "JPY")
    [network] = await database.read(lambda tx: read.networks(tx, [world.network]))
    second = replace(network, code=f"{world.network}-jpy", channels=[yen])
    said = conflict((await in_one(database, upsert_networks, [second], AT))[0], "/members/0/location")
    assert "its networks sell in JPY, USD" in said
    # in one batch, too: each network is asked after the one before it is written
    apart = [replace(network, channels=[]), second, network]
    outcomes = await in_one(database, upsert_networks, apart, AT)
    assert outcomes[:2] == [Updated(network.code), Created(second.code)]
    conflict(outcomes[2], "/members/0/location")


async def test_a_batch_that_says_a_thing_twice_is_asked_twice(database: Database, world: World) -> None:
    await in_one(database, upsert_exchange_rates, [rate("KWD", "USD", "3.25")], AT)
    service = replace(parcel_service(f"{world.service}-kwd"), currency="KWD")
    await in_one(database, upsert_carrier_services, [service], AT)
    await database.pool.execute("DELETE FROM network.exchange_rates")
    outcomes = await in_one(database, upsert_carrier_services, [replace(service, currency="USD"), service], AT)
    assert outcomes[0] == Updated(service.code)
    conflict(outcomes[1], "/currency")


async def test_a_currency_that_is_none_is_refused(database: Database, world: World) -> None:
    for verb, thing in (
        (upsert_sellers, Seller(code=f"{world.seller}-none", name="S", currency="XXY")),
        (upsert_carrier_services, replace(parcel_service(f"{world.service}-none"), currency="XXY")),
    ):
        [outcome] = await in_one(database, verb, [thing], AT)
        assert isinstance(outcome, NotUpserted)
        assert (outcome.reason, outcome.pointer) == (Reason.INVALID, "/currency")


async def test_changes_at_once_make_no_pair_that_nobody_can_convert(database: Database, world: World) -> None:
    """A carrier in euros and a seller who changes to francs: each alone would do, and one of the two is refused."""
    refused = 0
    for turn in range(6):
        await in_one(database, upsert_exchange_rates, [rate("EUR", "USD", "1.1"), rate("USD", "CHF", "0.9")], AT)
        service = replace(parcel_service(f"{world.service}-{turn}"), currency="EUR")
        franc = Seller(code=world.seller, name="Seller", currency="CHF")
        outcomes = await asyncio.gather(
            in_one(database, upsert_carrier_services, [service], AT), in_one(database, upsert_sellers, [franc], AT)
        )
        assert [isinstance(one, NotUpserted) for [one] in outcomes].count(True) == 1
        refused += 1
        await in_one(database, upsert_carrier_services, [replace(service, active=False)], AT)
        await in_one(database, upsert_exchange_rates, [rate("CHF", "USD", "1.1")], AT)
        await in_one(database, upsert_sellers, [replace(franc, currency="USD")], AT)
    assert refused == 6
