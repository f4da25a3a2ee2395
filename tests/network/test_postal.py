"""Postal codes however people write them: one form for look-ups and lanes, what was written for the label."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from ordino.core.database import Database
from ordino.inventory.adjust import Receipt, receive
from ordino.network import postal
from ordino.network.model import CarrierService, Lane, Location, Member, Network, PostalCode, Rate, Zone, service_fault
from ordino.network.read import postal_code
from ordino.network.upsert import upsert_carrier_services, upsert_locations, upsert_networks, upsert_postal_codes
from ordino.orders.model import Address, NewOrder, Placed
from ordino.orders.place import place
from ordino.orders.promise import Promise, PromiseLine, PromiseRequest, promise
from ordino.sourcing.document import parse
from steps import sure
from world import World, small_world

SAME = [
    ("US", "10001", ["10001", " 10001", "10001-1234", "100011234", "10001 1234", "10001\u00a0"]),
    ("US", "01234", ["01234", "01234-0001"]),
    ("CA", "K1A 0B1", ["K1A0B1", "k1a 0b1", "K1A-0B1", " k1a  0b1 "]),
    ("GB", "SW1A 1AA", ["SW1A1AA", "sw1a 1aa", "SW1A-1AA"]),
    ("GB", "M1 1AE", ["M11AE", "m1 1ae"]),
    ("NL", "1234 AB", ["1234AB", "1234 ab"]),
    ("BR", "01310100", ["01310-100", "01310100"]),
    ("SE", "11455", ["114 55", "11455"]),
    ("XX", "AB12", ["ab 1-2", "AB12"]),
]


@pytest.mark.parametrize(("country", "form", "written"), SAME)
def test_one_postal_code_has_one_form(country: str, form: str, written: list[str]) -> None:
    assert {postal.normal(country, one) for one in written} == {form}
    assert postal.normal(country, form) == form


@pytest.mark.parametrize(
    ("country", "code", "prefixes", "others"),
    [
        ("CA", "K1A0B1", ["K1A", "k1a0", "K1A 0B", "K1A0B1"], ["K1B", "K1A1"]),
        ("GB", "SW1A1AA", ["SW1", "sw1a", "SW1A1", "SW1A 1A", "SW1A1AA"], ["SW1 1", "SW1B"]),
        ("GB", "SW11AA", ["SW1 1", "SW1 1AA", "SW11AA"], ["SW11", "SW1A"]),
        ("US", "10001-1234", ["100", "10001", "10001-1234"], ["10002", "11"]),
        ("NL", "1234ab", ["12", "1234A", "1234 AB"], ["1234B"]),
        ("BR", "01310-100", ["013", "01310-1", "013101"], ["1310", "01320"]),
    ],
)
def test_a_prefix_begins_the_codes_that_it_begins_on_paper(
    country: str, code: str, prefixes: list[str], others: list[str]
) -> None:
    form = postal.normal(country, code)
    assert [one for one in prefixes if not form.startswith(postal.beginning(one))] == []
    assert [one for one in others if form.startswith(postal.beginning(one))] == []
    assert all(postal.within(country, code).startswith(postal.destination(f"{country}-{one}")) for one in prefixes)


def test_a_profile_speaks_of_postal_codes_in_any_form() -> None:
    scope = parse("name: ottawa\nfor: {destinations: [CA-k1a0]}\nstrategies: [{name: all}]\n").scope
    assert scope.fits("web", "shop", "home_delivery", "CA", "K1A-0B1")
    assert not scope.fits("web", "shop", "home_delivery", "CA", "K1B0B1")


def test_lanes_that_are_the_same_in_two_forms_are_told() -> None:
    rates = [Rate(up_to_grams=1000, cost_minor=1)]
    lanes = [Lane(destination_prefix="K1A 0", zone="z"), Lane(destination_prefix="k1a0", zone="z")]
    zones = [Zone(zone="z", transit_days=1, rates=rates)]
    twice = CarrierService(code="c", carrier="c", name="c", currency="CAD", max_grams=1000, zones=zones, lanes=lanes)
    fault = service_fault(twice)
    assert fault is not None
    assert fault.pointer == "/lanes/1"


@pytest.fixture(scope="module")
async def world(database: Database) -> World:
    """A Canadian location beside the others, reached by lanes and prefixes only."""
    world = await small_world(database)
    at = database.clock.now()
    rates = [Rate(up_to_grams=30_000, cost_minor=700)]
    lanes = [
        Lane(origin_prefix="m5v2", destination_prefix="k1a0", zone="ottawa"),
        Lane(origin_prefix="m5v2", destination_prefix="SW1A1", zone="london"),
    ]
    zones = [Zone(zone="ottawa", transit_days=1, rates=rates), Zone(zone="london", transit_days=4, rates=rates)]
    lane_service = CarrierService(
        code="lanes", carrier="Post", name="Lanes", currency="USD", max_grams=30_000, zones=zones, lanes=lanes
    )
    toronto = Location(
        code="toronto", name="Toronto", type="warehouse", country="CA", postal_code="M5V 2T6", latitude=43.6,  # type: ignore[arg-type]
        longitude=-79.4, timezone="America/Toronto", serves_countries=["CA", "GB"], serves_prefixes=["k1a", "sw1a1"],
    )  # fmt: skip

    async def more(tx: Any) -> None:
        for outcomes in (
            await upsert_locations(tx, [toronto], at=at),
            await upsert_carrier_services(tx, [lane_service], at=at),
            await upsert_postal_codes(
                tx, [PostalCode(country="CA", postal_code="k1a0b1", latitude=45.4, longitude=-75.7)], at=at
            ),
            await upsert_networks(
                tx,
                [
                    Network(
                        code=world.network,
                        name="Network",
                        members=[Member(location="toronto")],
                        channels=list(world.channels.values()),
                    )
                ],
                at=at,
            ),
        ):
            assert all(type(one).__name__ in ("Created", "Updated") for one in outcomes), outcomes

    await database.transact(more)
    arrived = Receipt(sku=world.sku, location="toronto", quantity=100)
    await database.transact(lambda tx: receive(tx, [arrived], at=at))
    return world


def to(world: World, external_id: str, country: str, code: str, **more: Any) -> NewOrder:
    address = Address(name="Ada  L", line1="1  Main St", city="town", postal_code=code, country=country, **more)
    return world.order(external_id, ship_to=address)


@pytest.mark.parametrize(
    ("country", "code"),
    [("CA", "K1A0B1"), ("CA", "k1a 0b1"), ("CA", " K1A-0B1"), ("GB", "SW1A1AA"), ("GB", "sw1a 1aa")],
)
async def test_an_order_ships_however_its_postal_code_is_written(
    database: Database, world: World, country: str, code: str
) -> None:
    at = database.clock.now()
    asked = PromiseRequest(
        channel=world.channel, country=country, postal_code=code, lines=[PromiseLine(sku=world.sku, quantity=1)]
    )
    [told] = await database.read(lambda tx: promise(tx, [asked], at=at))
    assert sure(told, Promise).delivery, "the promise knows the lane"
    order = to(world, f"{country}{code}", country, code)
    [outcome] = await database.transact(lambda tx: place(tx, [order], at=at))
    order_id = sure(outcome, Placed).order_id
    [kept] = await database.read(lambda tx: addresses(tx, order_id))
    assert (kept["postal_code"], kept["name"], kept["line1"]) == (code.strip(), "Ada  L", "1  Main St")


async def addresses(tx: Any, order_id: UUID) -> Any:
    return await tx.connection.fetch("SELECT * FROM orders.addresses WHERE order_id = $1", order_id)


async def test_elsewhere_nothing_ships(database: Database, world: World) -> None:
    for country, code in (("CA", "K1B 0B1"), ("GB", "SW1 1AA")):
        order = to(world, f"no-{code}", country, code)
        [outcome] = await database.transact(lambda tx, order=order: place(tx, [order], at=database.clock.now()))
        assert str(outcome.reason) == "cannot_ship"  # type: ignore[union-attr]


async def test_a_postal_code_is_kept_and_found_in_one_form(database: Database, world: World) -> None:
    at = database.clock.now()
    written = [
        PostalCode(country="CA", postal_code="K1A 0B1", latitude=45.4, longitude=-75.7),
        PostalCode(country="US", postal_code="01234-0001", latitude=42.0, longitude=-73.0),
    ]
    outcomes = await database.transact(lambda tx: upsert_postal_codes(tx, written, at=at))
    assert [type(one).__name__ for one in outcomes] == ["Unchanged", "Created"]
    assert [one.code for one in outcomes] == ["CA-K1A 0B1", "US-01234"]
    assert await database.read(lambda tx: postal_code(tx, "US", "01234")) is not None


@pytest.mark.parametrize(
    "email", ["nobody", "a@b", "a b@example.com", "a..b@example.com", "ada@example", "@", "", "a@-b.com"]
)
async def test_what_is_no_email_address_is_refused_with_its_pointer(
    database: Database, world: World, email: str
) -> None:
    at = database.clock.now()
    shipped = to(world, f"mail-{email}", "CA", "K1A0B1", email=email)
    ordered = world.order(f"who-{email}", customer="c", ship_to=to(world, "x", "CA", "K1A0B1").ship_to)
    assert ordered.customer is not None
    ordered = msgspec.structs.replace(ordered, customer=msgspec.structs.replace(ordered.customer, email=email))
    first, second = await database.transact(lambda tx: place(tx, [shipped, ordered], at=at))
    assert [(one.reason, one.pointer) for one in (first, second)] == [  # type: ignore[union-attr]
        ("invalid", "/ship_to/email"),
        ("invalid", "/customer/email"),
    ]
    assert repr(email) in first.detail  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "email", ["ada@example.com", "a.b+c@sub.example.co.uk", "o'neil@example.com", "jürgen@exämple.de", "用户@例子.广告"]
)
async def test_what_is_an_email_address_is_taken(database: Database, world: World, email: str) -> None:
    order = to(world, f"ok-{email}", "CA", "K1A0B1", email=email)
    [outcome] = await database.transact(lambda tx: place(tx, [order], at=database.clock.now()))
    sure(outcome, Placed)
