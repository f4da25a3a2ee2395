"""Carrier pickups, and days on which a location can take on more or less than on others."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Annotated

from msgspec import Meta, Struct

from ordino.core import kept
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.statements import statements
from ordino.core.upserts import Code, NotUpserted, Outcome, Reason, hold_network, in_rounds, network_changed, outcome
from ordino.network.facts import facts
from ordino.network.model import LocalTime, WorkingDays

sql = statements("ordino.network")
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]


class CarrierPickup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """On these ISO weekdays, at this local time, a carrier collects what goes with one of its services. A service that has pickups
    at a location leaves there at no other time.
    """

    code: Code
    location: Code
    carrier_service: Code
    working_days: WorkingDays
    at: LocalTime


class CapacityDay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a location can take on for one day of shipping, in place of its daily capacities; left out, there is no limit."""

    location: Code
    ship_on: date
    orders: Count | None = None
    units: Count | None = None

    @property
    def code(self) -> str:
        """Location and day, as in ``W1/2026-12-24``."""
        return f"{self.location}/{self.ship_on.isoformat()}"


class Dropped(Struct, frozen=True):
    """It is no longer so."""

    code: str


def _no_location(code: str, location: str) -> NotUpserted:
    detail = f"There is no location {location!r}; create it with PUT /v1/locations."
    return NotUpserted(code, Reason.UNKNOWN, detail, "/location")


async def upsert_carrier_pickups(tx: Tx, pickups: Sequence[CarrierPickup], *, at: datetime) -> list[Outcome]:
    """Each by its code."""
    if not pickups:
        return []
    await hold_network(tx)
    network = await facts(tx)
    services = {row["code"]: row["service_id"] for row in await sql.service_ids(tx, codes=_services(pickups))}

    async def one(pickup: CarrierPickup) -> Outcome:
        location_id = network.location_ids.get(pickup.location)
        if location_id is None:
            return _no_location(pickup.code, pickup.location)
        if pickup.carrier_service not in services:
            detail = f"There is no carrier service {pickup.carrier_service!r}; create it with PUT /v1/carrier_services."
            return NotUpserted(pickup.code, Reason.UNKNOWN, detail, "/carrier_service")
        rows = await sql.write_pickup(
            tx,
            code=pickup.code,
            location_id=location_id,
            service_id=services[pickup.carrier_service],
            working_days=sorted(set(pickup.working_days)),
            at=time.fromisoformat(pickup.at),
        )
        return outcome(pickup.code, new=bool(rows) and rows[0]["new"], written=bool(rows))

    async def apply(batch: Sequence[CarrierPickup]) -> list[Outcome]:
        return [await one(pickup) for pickup in batch]

    outcomes = await in_rounds(pickups, code=lambda pickup: pickup.code, fault=_sound, apply=apply)
    await network_changed(tx, outcomes)
    return outcomes


def _services(pickups: Sequence[CarrierPickup]) -> list[str]:
    return sorted({pickup.carrier_service for pickup in pickups})


def _sound(thing: Struct) -> Fault | None:
    return None


async def carrier_pickups(tx: Tx, codes: Sequence[str]) -> list[CarrierPickup]:
    return [CarrierPickup(**row) for row in await sql.pickups(tx, codes=list(codes))]


async def carrier_pickups_after(tx: Tx, after: str, limit: int) -> list[CarrierPickup]:
    rows = await sql.pickup_codes_after(tx, after=after, limit=limit)
    return await carrier_pickups(tx, [row["code"] for row in rows])


async def drop_pickup(tx: Tx, code: str) -> Dropped:
    """Raises ``NotFound``."""
    await hold_network(tx)
    if not await sql.drop_pickup(tx, code=code):
        raise NotFound(f"There is no carrier pickup {code!r}.")
    await kept.changed(tx, "network")
    return Dropped(code)


async def upsert_capacity_days(tx: Tx, days: Sequence[CapacityDay], *, at: datetime) -> list[Outcome]:
    """Each by its location and day. What is taken on already stays."""
    if not days:
        return []
    await hold_network(tx)
    network = await facts(tx)

    async def one(day: CapacityDay) -> Outcome:
        location_id = network.location_ids.get(day.location)
        if location_id is None:
            return _no_location(day.code, day.location)
        rows = await sql.write_capacity_day(
            tx, location_id=location_id, ship_on=day.ship_on, orders=day.orders, units=day.units
        )
        return outcome(day.code, new=bool(rows) and rows[0]["new"], written=bool(rows))

    async def apply(batch: Sequence[CapacityDay]) -> list[Outcome]:
        return [await one(day) for day in batch]

    outcomes = await in_rounds(days, code=lambda day: day.code, fault=_sound, apply=apply)
    await network_changed(tx, outcomes)
    return outcomes


async def capacity_days(tx: Tx, codes: Sequence[str]) -> list[CapacityDay]:
    return [CapacityDay(**row) for row in await sql.capacity_days(tx, codes=list(codes))]


async def capacity_days_after(tx: Tx, after: str, limit: int) -> list[CapacityDay]:
    rows = await sql.capacity_day_codes_after(tx, after=after, limit=limit)
    return await capacity_days(tx, [row["code"] for row in rows])


async def drop_capacity_day(tx: Tx, location: str, ship_on: date) -> Dropped:
    """Raises ``NotFound``."""
    await hold_network(tx)
    location_id = (await facts(tx)).location_id(location)
    if not await sql.drop_capacity_day(tx, location_id=location_id, ship_on=ship_on):
        raise NotFound(f"Nothing is said of {location!r} on {ship_on.isoformat()}.")
    await kept.changed(tx, "network")
    return Dropped(f"{location}/{ship_on.isoformat()}")
