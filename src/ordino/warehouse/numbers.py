"""Tracking numbers: whose parcel a carrier's number is.

Shipments under one number are one parcel: they go with the same carrier to the same address. The first has claimed the number;
others join it until the parcel has arrived, is lost or comes back. Afterwards the number is closed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from ordino.core.database import Raced, Tx
from ordino.network.facts import facts
from ordino.network.postal import normal
from ordino.warehouse.ledger import sql


class Numbered(Struct, frozen=True, kw_only=True):
    """A shipment under a tracking number."""

    tracking_number: str
    order_id: UUID
    shipment_id: UUID


class Owner(Struct, frozen=True, kw_only=True):
    """The shipment that has claimed a number. ``carrier`` is None where the service is no longer known."""

    order_id: UUID
    shipment_id: UUID
    carrier: str | None
    closed_at: datetime | None = None


class Numbers(Struct):
    """What is known of the tracking numbers of a batch, while it is judged."""

    owners: dict[str, Owner]
    addresses: Mapping[UUID, tuple[str, ...]]
    carriers: Mapping[int, str]  # by service id
    claimed: list[Numbered]
    joined: list[Numbered]

    def fault(self, number: str, order_id: UUID, service_id: int) -> str | None:
        """Why a shipment of the order cannot leave under the number; None if it can."""
        owner = self.owners.get(number)
        if owner is None:
            return None
        whose = (
            f"The tracking number {number!r} belongs to the shipment {owner.shipment_id} of the order {owner.order_id}"
        )
        if owner.closed_at is not None:
            return f"{whose}, and its parcel has arrived, is lost or is coming back. Use the number of this parcel."
        if owner.carrier != self.carriers.get(service_id):
            return f"{whose}, which went with another carrier. Use the number that this shipment's carrier gave it."
        if owner.order_id != order_id and not self._same_address(owner.order_id, order_id):
            return f"{whose}, which goes to another address. Use the number that the carrier gave this parcel."
        return None

    def take(self, item: Numbered, service_id: int) -> None:
        """The shipment leaves under the number: as the first one, or in the same parcel."""
        if item.tracking_number in self.owners:
            self.joined.append(item)
            return
        carrier = self.carriers.get(service_id)
        owner = Owner(order_id=item.order_id, shipment_id=item.shipment_id, carrier=carrier)
        self.owners[item.tracking_number] = owner
        self.claimed.append(item)

    def _same_address(self, one: UUID, other: UUID) -> bool:
        return one in self.addresses and self.addresses[one] == self.addresses.get(other)


async def numbers(tx: Tx, wanted: Sequence[tuple[str, UUID]]) -> Numbers:
    """(tracking number, order id): who has the numbers. Addresses are read only where a number is asked for twice."""
    counted = Counter(number for number, _ in wanted)
    rows = await sql.number_owners(tx, tracking_numbers=sorted(counted))
    carriers = {service_id: service.carrier for service_id, service in (await facts(tx)).services.items()}
    services = await _services(tx, rows)
    owners = {
        row["tracking_number"]: Owner(
            order_id=row["order_id"],
            shipment_id=row["shipment_id"],
            carrier=carriers.get(services.get(row["shipment_id"], -1)),
            closed_at=row["closed_at"],
        )
        for row in rows
    }
    contested = {number for number, times in counted.items() if times > 1 or number in owners}
    orders = {order_id for number, order_id in wanted if number in contested}
    orders |= {owner.order_id for owner in owners.values()}
    addresses = {}
    if orders:
        for row in await sql.full_destinations(tx, order_ids=sorted(orders)):
            addresses[row["order_id"]] = _address(row)
    return Numbers(owners, addresses, carriers, [], [])


async def _services(tx: Tx, rows: Sequence[Any]) -> dict[UUID, int]:
    if not rows:
        return {}
    found = await sql.services_of_shipments(
        tx, order_ids=[row["order_id"] for row in rows], shipment_ids=[row["shipment_id"] for row in rows]
    )
    return {row["shipment_id"]: row["service_id"] for row in found}


def _address(row: Any) -> tuple[str, ...]:
    """An address as two people would write it who mean the same door."""
    texts = (row[name] or "" for name in ("city", "line1", "line2", "name"))
    plain = (" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts)
    return (row["country"], normal(row["country"], row["postal_code"]), *plain)


async def write(tx: Tx, known: Numbers) -> None:
    """Claim what was taken. Raises ``Raced`` if somebody else has taken or closed one of the numbers meanwhile."""
    if known.claimed:
        rows = await sql.claim_numbers(tx, **_columns(known.claimed))
        if len(rows) < len(known.claimed):
            raise Raced([])
    if known.joined:
        wanted = {item.tracking_number for item in known.joined}
        held = await sql.hold_numbers(tx, tracking_numbers=sorted(wanted))
        if len(held) < len(wanted):
            raise Raced([])
        await sql.join_numbers(tx, **_columns(known.joined))


async def ensure(tx: Tx, shipments: Sequence[Numbered]) -> set[UUID]:
    """Shipments that left without claiming their number claim it now. Returns the ids of those that have their number."""
    columns = _columns(shipments)
    rows = await sql.numbered(tx, tracking_numbers=columns["tracking_numbers"], shipment_ids=columns["shipment_ids"])
    there = {row["shipment_id"] for row in rows}
    missing = [item for item in shipments if item.shipment_id not in there]
    if missing:
        there |= {row["shipment_id"] for row in await sql.claim_numbers(tx, **_columns(missing))}
    return there


async def close(tx: Tx, tracking_numbers: Collection[str], *, at: datetime) -> None:
    """No further shipment joins these parcels. Whoever is about to join one is waited for."""
    await sql.close_numbers(tx, tracking_numbers=sorted(tracking_numbers), at=at)


def _columns(items: Sequence[Numbered]) -> dict[str, list[Any]]:
    return {
        "tracking_numbers": [item.tracking_number for item in items],
        "shipment_ids": [item.shipment_id for item in items],
        "order_ids": [item.order_id for item in items],
    }
