"""Carrier pickups, and days on which a location can take on more or less than on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from typing import Annotated

from msgspec import Meta, Struct

from ordino.core.codes import Code
from ordino.core.database import Tx
from ordino.core.errors import Fault, NotFound
from ordino.core.statements import statements
from ordino.core.upserts import (
    NotUpserted,
    Outcome,
    Reason,
    hold_network,
    in_rounds,
    network_changed,
    outcome,
    part_changed,
)
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

    def missing(pickup: CarrierPickup) -> NotUpserted | None:
        if pickup.location not in network.location_ids:
            return _no_location(pickup.code, pickup.location)
        if pickup.carrier_service not in services:
            detail = f"There is no carrier service {pickup.carrier_service!r}; create it with PUT /v1/carrier_services."
            return NotUpserted(pickup.code, Reason.UNKNOWN, detail, "/carrier_service")
        return None

    async def apply(batch: Sequence[CarrierPickup]) -> list[Outcome]:
        refused = {pickup.code: said for pickup in batch if (said := missing(pickup)) is not None}
        sound = [pickup for pickup in batch if pickup.code not in refused]
        rows = await sql.write_pickups(
            tx,
            codes=[pickup.code for pickup in sound],
            location_ids=[network.location_ids[pickup.location] for pickup in sound],
            service_ids=[services[pickup.carrier_service] for pickup in sound],
            working_days=[",".join(map(str, sorted(set(pickup.working_days)))) for pickup in sound],
            ats=[time.fromisoformat(pickup.at) for pickup in sound],
        )
        return _outcomes([pickup.code for pickup in batch], refused, {row["code"]: row["new"] for row in rows})

    outcomes = await in_rounds(pickups, code=lambda pickup: pickup.code, fault=_sound, apply=apply)
    await network_changed(tx, outcomes, "carrier_pickups")
    return outcomes


def _outcomes(codes: Sequence[str], refused: Mapping[str, NotUpserted], written: Mapping[str, bool]) -> list[Outcome]:
    """``written``: code -> whether it is new."""
    return [refused.get(code) or outcome(code, new=written.get(code, False), written=code in written) for code in codes]


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
    await part_changed(tx, "carrier_pickups")
    return Dropped(code)


async def upsert_capacity_days(tx: Tx, days: Sequence[CapacityDay], *, at: datetime) -> list[Outcome]:
    """Each by its location and day. What is taken on already stays."""
    if not days:
        return []
    await hold_network(tx)
    network = await facts(tx)

    async def apply(batch: Sequence[CapacityDay]) -> list[Outcome]:
        sound = [day for day in batch if day.location in network.location_ids]
        refused = {
            day.code: _no_location(day.code, day.location) for day in batch if day.location not in network.location_ids
        }
        rows = await sql.write_capacity_days(
            tx,
            location_ids=[network.location_ids[day.location] for day in sound],
            ship_ons=[day.ship_on for day in sound],
            orders=[day.orders for day in sound],
            units=[day.units for day in sound],
        )
        new = {(row["location_id"], row["ship_on"]): row["new"] for row in rows}
        written = {
            day.code: new[key] for day in sound if (key := (network.location_ids[day.location], day.ship_on)) in new
        }
        return _outcomes([day.code for day in batch], refused, written)

    outcomes = await in_rounds(days, code=lambda day: day.code, fault=_sound, apply=apply)
    await network_changed(tx, outcomes, "capacity_days")
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
    await part_changed(tx, "capacity_days")
    return Dropped(f"{location}/{ship_on.isoformat()}")
