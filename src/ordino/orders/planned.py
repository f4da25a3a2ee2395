"""An order with its decision, and all that placement writes for it: keys first, stock last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Struct

from ordino.catalog.kits import Parts
from ordino.core.database import Raced, Tx
from ordino.core.events import Event, record
from ordino.core.ids import new_id
from ordino.core.payloads import Units
from ordino.core.statements import statements
from ordino.inventory import holds, waiting
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.rules import Position
from ordino.inventory.shelf import Shelf
from ordino.network.facts import Channel, NetworkFacts
from ordino.orders import capacity
from ordino.orders.events import (
    AuthorizationExceeded,
    ConditionFailed,
    DroppedUnits,
    LinesDropped,
    OrderPlaced,
    PassedStrategy,
    PaymentAuthorized,
    UnitsBackordered,
)
from ordino.orders.model import DroppedLine, DropReason, NewOrder, NewPayment
from ordino.orders.tenders import Tender, take_up
from ordino.orders.told import endangered
from ordino.sourcing.model import Decision

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
_encode = msgspec.json.Encoder().encode
_NOTHING: Mapping[Position, int] = {}


class PlannedOrder(Struct, frozen=True, gc=False):
    """An order that has passed every check, with its decision: what ``write`` puts into the database."""

    order: NewOrder
    channel: Channel
    digest: bytes
    order_id: UUID
    event_id: UUID
    customer_id: UUID | None
    flow_version: int
    sku_ids: tuple[int, ...]
    amounts: tuple[int, ...]
    decision: Decision
    parts: tuple[Parts, ...] = ()  # of the lines that are for kits; () of the others
    held: Mapping[Position, int] = {}
    # Whose units those are: the hold that the order names, or the one that its cart has now.
    hold_id: UUID | None = None
    never: Mapping[int, str] = {}  # of the lines that were dropped: why nothing can ever serve them

    @property
    def promised_at(self) -> datetime | None:
        """What the buyer was told before; else when the last package arrives, if nothing is short."""
        return self.order.promised_at or self.decision.promised_at

    @property
    def dropped_minor(self) -> int:
        """What the dropped lines are worth."""
        dropped = self.decision.dropped
        return sum(self.amounts[line_no - 1] for line_no in dropped) if dropped else 0

    @property
    def accepted_total_minor(self) -> int:
        """What the lines that were not dropped are worth, with everything else that the order costs."""
        return self.order.total_minor - self.dropped_minor

    @property
    def payment(self) -> NewPayment | None:
        """The one that came with the order, if one did."""
        return None if self.order.payments is None else self.order.payments[0]

    def dropped_lines(self) -> list[DroppedLine]:
        lines = self.order.lines
        return [
            DroppedLine(line_no, lines[line_no - 1].sku, lines[line_no - 1].quantity, self.drop_reason(line_no))
            for line_no in sorted(self.decision.dropped)
        ]

    def drop_reason(self, line_no: int) -> DropReason:
        return DropReason.CANNOT_SHIP if line_no in self.never else DropReason.OUT_OF_STOCK


async def write(
    tx: Tx,
    planned: Sequence[PlannedOrder],
    network: NetworkFacts,
    shelf: Shelf | None = None,
    *,
    at: datetime,
    held: bool = False,
) -> dict[UUID, str]:
    """Everything that placement writes, stock last. Returns each order's status. Raises ``Raced`` to be planned again.

    ``shelf`` is what the plans were made on; with ``held``, that and the orders' keys are this transaction's already.
    """
    if not planned:
        return {}
    if not held:
        by_key = sorted(planned, key=lambda plan: (plan.channel.channel_id, plan.order.external_id))
        claimed = await sql.claim_keys(
            tx,
            channel_ids=[plan.channel.channel_id for plan in by_key],
            external_ids=[plan.order.external_id for plan in by_key],
            order_ids=[plan.order_id for plan in by_key],
            digests=[plan.digest for plan in by_key],
        )
        if len(claimed) < len(planned):
            raise Raced([])
    rows = await sql.write_orders(
        tx, **_order_columns(planned), **_line_columns(planned), **_allocation_columns(planned), at=at
    )
    if brought := [
        Tender(plan.order_id, plan.event_id, paid) for plan in planned if (paid := plan.payment) is not None
    ]:
        await take_up(tx, brought, at=at)
    await sourcing_sql.record_decisions(
        tx,
        order_ids=[plan.order_id for plan in planned],
        cause_ids=[plan.event_id for plan in planned],
        profile_versions=[plan.decision.profile_version for plan in planned],
        explanations=[_encode(plan.decision.explanation).decode() for plan in planned],
        at=at,
    )
    await record(tx, [event for plan in planned for event in _events(plan, at)])
    await capacity.claim(
        tx,
        network,
        [
            claim
            for plan in planned
            for leg in plan.decision.legs
            for claim in capacity.claims_of(network, plan.order_id, leg)
        ],
    )
    await kit_ledger.freeze(
        tx,
        {
            (plan.order_id, line_no): parts
            for plan in planned
            for line_no, parts in enumerate(plan.parts, 1)
            if parts and line_no not in plan.decision.dropped
        },
    )
    if turned := {plan.hold_id: plan.order_id for plan in planned if plan.held and plan.hold_id is not None}:
        await holds.turn(tx, turned, at=at)
    for plan in planned:
        if plan.decision.short:
            waiting.change(tx, _waiting(plan), {} if shelf is None else shelf.seen, at=at)
    moves, keep = _stock_moves(planned, network, shelf)
    await stock.post(tx, moves, at=at, keep=keep, guarded=not held)
    if waited_for := {
        plan.sku_ids[line_no - 1]: plan.parts[line_no - 1] for plan in planned for line_no in plan.decision.short
    }:
        await kit_ledger.stand(tx, waited_for)  # what orders wait for stays what it is
    return {row["order_id"]: row["status"] for row in rows}


def _stock_moves(
    planned: Sequence[PlannedOrder], network: NetworkFacts, shelf: Shelf | None
) -> tuple[list[StockMove], dict[Position, int]]:
    """What holds let go of and orders reserve; and how many free units must stay at each position: its buffer, and what is left to
    orders that wait.
    """
    book, claimed_units = (None, _NOTHING) if shelf is None else (shelf.book, shelf.claimed)
    keep: dict[Position, int] = defaultdict(int)
    moves: list[StockMove] = []
    for plan in planned:
        serving = plan.channel.network
        assert serving is not None
        channel_id = plan.channel.channel_id
        if plan.held and plan.hold_id is not None:
            moves += holds.let_go(plan.hold_id, plan.held, plan.event_id)
        for leg in plan.decision.legs:
            buffer = serving.buffers[leg.location_id]
            for units in leg.units:
                for sku_id, _ in plan.parts[units.line_no - 1] or ((units.sku_id, 1),):
                    if book is not None:
                        buffer = book.buffer(serving, channel_id, sku_id, network.locations[leg.location_id])[0]
                    if stays := buffer + claimed_units.get((sku_id, leg.location_id), 0):
                        keep[sku_id, leg.location_id] = max(keep[sku_id, leg.location_id], stays)
                moves.append(
                    StockMove(
                        units.sku_id,
                        leg.location_id,
                        plan.event_id,
                        MoveKind.RESERVED,
                        reserved_delta=units.quantity,
                        order_id=plan.order_id,
                        line_no=units.line_no,
                        channel_id=channel_id,
                    )
                )
    return moves, keep


def _waiting(plan: PlannedOrder) -> dict[waiting.Waiter, int]:
    """The units that wait, of kits their components."""
    units: dict[waiting.Waiter, int] = defaultdict(int)
    for line_no, quantity in plan.decision.short.items():
        for sku_id, each in plan.parts[line_no - 1] or ((plan.sku_ids[line_no - 1], 1),):
            units[sku_id, plan.channel.channel_id] += quantity * each
    return units


def _events(plan: PlannedOrder, at: datetime) -> Iterator[Event]:
    decision = plan.decision
    short = [Units(line_no, units) for line_no, units in decision.short.items()]
    placed = OrderPlaced(
        channel=plan.channel.code,
        total_minor=plan.order.total_minor,
        backordered=short or UNSET,
        accepted_total_minor=plan.accepted_total_minor if decision.dropped else UNSET,
    )
    yield Event(plan.order_id, plan.event_id, at, placed, plan.flow_version)
    if decision.dropped:
        yield Event(plan.order_id, new_id(at), at, _dropped(plan), plan.flow_version)
    if plan.payment is not None:
        yield from _payment_events(plan, plan.payment, at)
    if short:
        yield Event(plan.order_id, new_id(at), at, UnitsBackordered(lines=short), plan.flow_version)
    if decision.endangered:
        order = plan.order
        yield from endangered(decision, order.promised_at, order.ship_by_at, plan.flow_version, at=at)
    failed = [PassedStrategy(look.strategy, look.passed) for look in decision.explanation.looks if look.failed]
    if failed:
        told = ConditionFailed(profile=decision.explanation.profile, strategies=failed)
        yield Event(plan.order_id, new_id(at), at, told, plan.flow_version)


def _payment_events(plan: PlannedOrder, payment: NewPayment, at: datetime) -> Iterator[Event]:
    """Money that the provider holds already is authorized. What exceeds the order, because lines were dropped, is let go."""
    if payment.authorization is None:
        return
    held = payment.authorization
    authorized = PaymentAuthorized(amount_minor=held.amount_minor, reference=held.reference, taken_over=True)
    yield Event(plan.order_id, new_id(at), at, authorized, plan.flow_version)
    if plan.dropped_minor:
        surplus = AuthorizationExceeded(amount_minor=plan.dropped_minor)
        yield Event(plan.order_id, new_id(at), at, surplus, plan.flow_version)


def _dropped(plan: PlannedOrder) -> LinesDropped:
    """The facts of the event: the lines with their amounts and why, and what is left of the total."""
    lines = [
        DroppedUnits(
            line.line_no,
            line.sku,
            line.quantity,
            line.reason,
            plan.amounts[line.line_no - 1],
            plan.never.get(line.line_no, UNSET),
        )
        for line in plan.dropped_lines()
    ]
    return LinesDropped(lines=lines, accepted_total_minor=plan.accepted_total_minor)


def _order_columns(planned: Sequence[PlannedOrder]) -> dict[str, Any]:
    orders = [plan.order for plan in planned]
    addresses = [order.ship_to for order in orders]
    ordered, backordered, cancelled = [], [], []
    for plan in planned:
        ordered.append(sum(line.quantity for line in plan.order.lines))
        backordered.append(sum(plan.decision.short.values()))
        cancelled.append(sum(plan.order.lines[line_no - 1].quantity for line_no in plan.decision.dropped))
    paid_by = [(plan, plan.payment) for plan in planned]
    return {
        "order_ids": [plan.order_id for plan in planned],
        "channel_ids": [plan.channel.channel_id for plan in planned],
        "external_ids": [order.external_id for order in orders],
        "customer_ids": [plan.customer_id for plan in planned],
        "flow_versions": [plan.flow_version for plan in planned],
        "currencies": [order.currency for order in orders],
        "shipping": [order.shipping_minor for order in orders],
        "tax": [order.tax_minor for order in orders],
        "discount": [order.discount_minor for order in orders],
        "total": [order.total_minor for order in orders],
        "dropped": [plan.dropped_minor for plan in planned],
        "promised_ats": [plan.promised_at for plan in planned],
        "ship_by_ats": [order.ship_by_at for order in orders],
        "types": [order.type for order in orders],
        "service_levels": [order.service_level for order in orders],
        "ordered": ordered,
        "backordered": backordered,
        "allocated": [o - b - c for o, b, c in zip(ordered, backordered, cancelled, strict=True)],
        "cancelled": cancelled,
        "names": [address.name for address in addresses],
        "line1s": [address.line1 for address in addresses],
        "line2s": [address.line2 for address in addresses],
        "cities": [address.city for address in addresses],
        "regions": [address.region for address in addresses],
        "postal_codes": [address.postal_code.strip() for address in addresses],
        "countries": [address.country for address in addresses],
        "emails": [address.email for address in addresses],
        "phones": [address.phone for address in addresses],
        "providers": [(paid and paid.provider) or plan.channel.payment_provider for plan, paid in paid_by],
        "methods": [paid and paid.method for _, paid in paid_by],
    }


_LINE_COLUMNS = (
    "line_order_ids",
    "line_cause_ids",
    "line_nos",
    "line_sku_ids",
    "line_ordered",
    "line_prices",
    "line_amounts",
    "line_backordered",
    "line_allocated",
    "line_cancelled",
    "line_drop_reasons",
    "line_groups",
)


def _line_columns(planned: Sequence[PlannedOrder]) -> dict[str, list[Any]]:
    rows = []
    for plan in planned:
        short, dropped = plan.decision.short, plan.decision.dropped
        for line_no, (line, sku_id, amount) in enumerate(
            zip(plan.order.lines, plan.sku_ids, plan.amounts, strict=True), 1
        ):
            backordered = short.get(line_no, 0)
            cancelled = line.quantity if line_no in dropped else 0
            rows.append(
                (
                    plan.order_id,
                    plan.event_id,
                    line_no,
                    sku_id,
                    line.quantity,
                    line.unit_price_minor,
                    amount,
                    backordered,
                    line.quantity - backordered - cancelled,
                    cancelled,
                    plan.drop_reason(line_no) if cancelled else None,
                    line.group,
                )
            )
    return dict(zip(_LINE_COLUMNS, (list(column) for column in zip(*rows, strict=True)), strict=True))


_ALLOCATION_COLUMNS = (
    "allocation_order_ids",
    "allocation_line_nos",
    "allocation_location_ids",
    "allocation_sku_ids",
    "allocation_quantities",
    "allocation_service_ids",
    "allocation_ship_bys",
    "allocation_promises",
)


def _allocation_columns(planned: Sequence[PlannedOrder]) -> dict[str, list[Any]]:
    rows = [
        (
            plan.order_id,
            units.line_no,
            leg.location_id,
            units.sku_id,
            units.quantity,
            leg.service_id,
            leg.ship_by_at,
            leg.promised_at,
        )
        for plan in planned
        for leg in plan.decision.legs
        for units in leg.units
    ]
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(_ALLOCATION_COLUMNS)
    return {name: list(column) for name, column in zip(_ALLOCATION_COLUMNS, columns, strict=True)}
