"""Placement: a batch of orders is checked, priced, sourced, reserved and written in one transaction.

The first try reads stock without a lock and lets the guarded update have the last word. If somebody was faster, the
transaction is run again on stock that it holds from the start; that try cannot be overtaken. Where units are kept for channels or
lots have expired, every try is such a one. What it holds it takes in the order of ``core/locks.py``, before it decides: keys and
customers of orders that are refused in the end are given back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import asdict, replace

from ordino.catalog.kits import Parts
from ordino.core.database import Raced, Tx
from ordino.core.emails import email_fault
from ordino.core.events import Event, record
from ordino.core.http import holds_nul
from ordino.core.ids import new_id, new_ids
from ordino.core.money import split_minor
from ordino.core.statements import statements
from ordino.core.times import NEEDS_OFFSET, year_fault
from ordino.inventory import holds, waiting
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger as stock
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.rules import Position
from ordino.inventory.shelf import Shelf, must_hold, on_shelf
from ordino.network.facts import Channel, Closed, NetworkFacts, Serving, facts
from ordino.orders import capacity
from ordino.orders.asking import Sku, known_skus, unknown_level
from ordino.orders.model import (
    MAX_LINES,
    MAX_MINOR,
    MAX_QUANTITY,
    DroppedLine,
    DropReason,
    NewCustomer,
    NewOrder,
    OrderRefused,
    Placed,
    Refusal,
)
from ordino.orders.never import NeverServed, never_served
from ordino.orders.repeats import answer_repeats, digest_of
from ordino.orders.replay import cast_shadows
from ordino.orders.told import endangered
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import profiles

sql = statements("ordino.orders")
sourcing_sql = statements("ordino.sourcing")
_encode = msgspec.json.Encoder().encode
BUILT_IN_PROVIDER = "manual"
_NOTHING: Mapping[Position, int] = {}
_POSSIBLE: Mapping[int, str] = {}

Outcome = Placed | OrderRefused


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

    def dropped_lines(self) -> list[DroppedLine]:
        lines = self.order.lines
        return [
            DroppedLine(line_no, lines[line_no - 1].sku, lines[line_no - 1].quantity, self.drop_reason(line_no))
            for line_no in sorted(self.decision.dropped)
        ]

    def drop_reason(self, line_no: int) -> DropReason:
        return DropReason.CANNOT_SHIP if line_no in self.never else DropReason.OUT_OF_STOCK


async def place(tx: Tx, orders: Sequence[NewOrder], *, at: datetime) -> list[Outcome]:
    """One outcome an order, in order. An order that the channel sent before is answered as the first time.

    So is one that stands in the set twice: whoever waits for the stock that was taken does not wait for its repeats. Only where the
    first was refused and the next says something else is that to be placed, too, after stock was taken: everything is held then.
    """
    outcomes: list[Outcome | None] = [None] * len(orders)
    pending: list[tuple[int, NewOrder]] = []
    for index, order in enumerate(orders):
        fault = _fault(order)
        if fault is None:
            pending.append((index, order))
        else:
            outcomes[index] = fault
    locked: _Locked | None = None
    again = False
    while pending:
        firsts: dict[tuple[str, str], int] = {}
        now: list[tuple[int, NewOrder]] = []
        later: list[tuple[int, NewOrder]] = []
        for index, order in pending:
            first = firsts.setdefault((order.channel, order.external_id), index)
            (now if first == index else later).append((index, order))
        answers, locked_now = await _place_distinct(
            tx, [order for _, order in now], at, beside=[order for _, order in later], locked=locked, again=again
        )
        for (index, _), outcome in zip(now, answers, strict=True):
            outcomes[index] = outcome
        pending = []
        for index, order in later:
            first = firsts[order.channel, order.external_id]
            if order == orders[first]:
                said = outcomes[first]
                outcomes[index] = replace(said, repeated=True) if isinstance(said, Placed) else said
            else:
                pending.append((index, order))
        locked, again = locked_now, True
    return [outcome for outcome in outcomes if outcome is not None]


class _Locked(Struct, frozen=True):
    """What a transaction that holds everything from the start has taken before its first order was decided on: the SKUs whose stock
    it is to hold, and expired holds that are to let go of some of it.
    """

    sku_ids: frozenset[int]
    lapsed: holds.Lapsed
    claimed: bool = False  # the keys and customers, too, and the stock is held


async def _place_distinct(
    tx: Tx,
    orders: Sequence[NewOrder],
    at: datetime,
    *,
    beside: Sequence[NewOrder],
    locked: _Locked | None,
    again: bool,
) -> tuple[list[Outcome], _Locked | None]:
    """Each order once; ``beside`` them are those that come after them in this transaction. Also returns what is held for all.

    Raises ``Raced`` where one is to be placed that comes ``again`` and what it needs is not held: others' stock is taken already.
    """
    network = await facts(tx)
    outcomes: dict[int, Outcome] = {}
    known: dict[int, Channel] = {}
    for index, order in enumerate(orders):
        channel = network.channels.get(order.channel)
        if channel is None:
            outcomes[index] = _refuse(order, Refusal.UNKNOWN_CHANNEL, _no_channel(order, channel), "/channel")
        else:
            known[index] = channel
    digests = {index: digest_of(orders[index]) for index in known}
    outcomes |= await answer_repeats(tx, orders, known, digests)
    channels: dict[int, tuple[Channel, Serving]] = {}
    for index, channel in known.items():
        if index in outcomes:
            continue
        if channel.network is None:
            detail = _no_channel(orders[index], channel)
            outcomes[index] = _refuse(orders[index], Refusal.UNKNOWN_CHANNEL, detail, "/channel")
        else:
            channels[index] = (channel, channel.network)
    open_ = [index for index in channels if index not in outcomes]
    for index in open_:
        refusal = _price_fault(orders[index], channels[index][0])
        if refusal is not None:
            outcomes[index] = refusal
    skus = await known_skus(
        tx, {line.sku for order in (*(orders[index] for index in open_), *beside) for line in order.lines}
    )
    for index in open_:
        if index not in outcomes and (refusal := _sku_fault(orders[index], skus)) is not None:
            outcomes[index] = refusal
        elif index not in outcomes and (said := unknown_level(network, orders[index].service_level)) is not None:
            outcomes[index] = _refuse(orders[index], Refusal.UNKNOWN_SERVICE_LEVEL, said, "/service_level")
    chosen = [index for index in open_ if index not in outcomes]
    if again and chosen and locked is None:
        raise Raced([])
    if locked is None and (chosen or beside):
        locked = await _lock(tx, [*(orders[index] for index in chosen), *beside], skus, at)
    held = await _held(tx, orders, chosen, channels, at, outcomes, locked is not None)
    chosen = [index for index in chosen if index not in outcomes]
    if chosen:
        planned, shelf, locked = await _plan(
            tx, orders, chosen, channels, digests, skus, held, network, at, outcomes, locked, beside
        )
        statuses = await write(tx, planned, network, shelf, at=at, held=locked is not None)
        by_id = {plan.order.external_id: plan for plan in planned}
        for index in chosen:
            if index not in outcomes:
                plan = by_id[orders[index].external_id] if len(by_id) == len(planned) else _find(planned, orders[index])
                outcomes[index] = Placed(
                    plan.order_id,
                    plan.order.external_id,
                    statuses[plan.order_id],
                    plan.promised_at,
                    plan.accepted_total_minor,
                    plan.dropped_lines() if plan.decision.dropped else (),
                )
    return [outcomes[index] for index in range(len(orders))], locked


async def _lock(tx: Tx, orders: Sequence[NewOrder], skus: Mapping[str, Sku], at: datetime) -> _Locked | None:
    """Lock the holds, if everything is to be held from the start: after a lost race, or where stock demands it. None: it is not."""
    known = [skus[line.sku] for order in orders for line in order.lines if line.sku in skus]
    sku_ids = frozenset(sku_id for sku in known for sku_id, _ in sku.parts or ((sku.sku_id, 1),))
    if not await must_hold(tx, sku_ids, at=at):
        return None
    named = sorted({order.hold_id for order in orders if order.hold_id is not None})
    lapsed = await holds.lock_lapsed(tx, sku_ids, at=at, beside=named)
    kept = await holds.claim(tx, named, at=at, locked=True) if named else {}
    return _Locked(sku_ids.union(sku_id for one in kept.values() for sku_id, _ in one.units), lapsed)


def _find(planned: Sequence[PlannedOrder], order: NewOrder) -> PlannedOrder:
    return next(plan for plan in planned if plan.order is order)


# -- checks, in the order of the refusals ------------------------------------------------------------------------------


def _fault(order: NewOrder) -> OrderRefused | None:
    """What the types of the API promise, checked again for callers that make orders themselves."""

    def refuse(pointer: str, detail: str) -> OrderRefused:
        return _refuse(order, Refusal.INVALID, detail, pointer)

    if not 1 <= len(order.lines) <= MAX_LINES:
        return refuse("/lines", f"An order has 1 to {MAX_LINES} lines; this one has {len(order.lines)}.")
    for index, line in enumerate(order.lines):
        if not 1 <= line.quantity <= MAX_QUANTITY:
            return refuse(f"/lines/{index}/quantity", f"Order 1 to {MAX_QUANTITY} units, not {line.quantity}.")
        if not 0 <= line.unit_price_minor <= MAX_MINOR:
            return refuse(f"/lines/{index}/unit_price_minor", f"A price is 0 to {MAX_MINOR} minor units.")
    for name in ("shipping_minor", "tax_minor", "discount_minor", "total_minor"):
        if not 0 <= getattr(order, name) <= MAX_MINOR:
            return refuse(f"/{name}", f"{name} is 0 to {MAX_MINOR} minor units, not {getattr(order, name)}.")
    for name, instant in (("promised_at", order.promised_at), ("ship_by_at", order.ship_by_at)):
        if instant is not None and instant.tzinfo is None:
            return refuse(f"/{name}", NEEDS_OFFSET)
        if instant is not None and (wrong := year_fault(instant)):
            return refuse(f"/{name}", wrong)
    if not order.external_id or not order.channel:
        return refuse("/external_id", "Name the order: channel and external_id must not be empty.")
    if wrong := email_fault(order.ship_to.email):
        return refuse("/ship_to/email", wrong)
    if order.customer is not None and (wrong := email_fault(order.customer.email)):
        return refuse("/customer/email", wrong)
    if holds_nul(_encode(order)):
        return refuse("", "Text must not contain the character U+0000; leave it out.")
    return None


def _no_channel(order: NewOrder, channel: Channel | None) -> str:
    if channel is None:
        return f"There is no channel {order.channel!r}; create it with PUT /v1/channels."
    return f"No network serves the channel {order.channel!r}; name it in a network with PUT /v1/networks."


def _price_fault(order: NewOrder, channel: Channel) -> OrderRefused | None:
    if order.currency != channel.currency:
        detail = f"The channel {order.channel!r} sells in {channel.currency}, not in {order.currency}."
        return _refuse(order, Refusal.WRONG_CURRENCY, detail, "/currency")
    goods = sum(line.quantity * line.unit_price_minor for line in order.lines)
    total = goods + order.shipping_minor + order.tax_minor - order.discount_minor
    if total < 0:
        detail = (
            f"The discount of {order.discount_minor} is more than lines, shipping and tax together; "
            f"it can be {total + order.discount_minor} at most."
        )
        return _refuse(order, Refusal.WRONG_TOTAL, detail, "/discount_minor")
    if total != order.total_minor:
        detail = (
            f"Lines {goods} + shipping {order.shipping_minor} + tax {order.tax_minor} - discount {order.discount_minor} "
            f"make {total}, not {order.total_minor}."
        )
        return _refuse(order, Refusal.WRONG_TOTAL, detail, "/total_minor")
    if total > MAX_MINOR:
        return _refuse(
            order, Refusal.WRONG_TOTAL, f"An order is worth at most {MAX_MINOR} minor units.", "/total_minor"
        )
    return None


def _sku_fault(order: NewOrder, skus: Mapping[str, Sku]) -> OrderRefused | None:
    for index, line in enumerate(order.lines):
        sku = skus.get(line.sku)
        if sku is None or not sku.active:
            said = "does not exist; create it with PUT /v1/skus" if sku is None else "is no longer sold"
            return _refuse(order, Refusal.UNKNOWN_SKU, f"The SKU {line.sku!r} {said}.", f"/lines/{index}/sku")
    return None


async def _held(
    tx: Tx,
    orders: Sequence[NewOrder],
    chosen: Sequence[int],
    channels: Mapping[int, tuple[Channel, Serving]],
    at: datetime,
    outcomes: dict[int, Outcome],
    locked: bool,
) -> dict[int, holds.Claimed]:
    """What holds keep for these orders. A hold becomes the first order that names it; a second one finds it empty."""
    named = {index: hold_id for index in chosen if (hold_id := orders[index].hold_id) is not None}
    if not named:
        return {}
    found = await holds.claim(tx, set(named.values()), at=at, locked=locked)
    held: dict[int, holds.Claimed] = {}
    taken: set[UUID] = set()
    for index, hold_id in named.items():
        claimed = found.get(hold_id)
        if claimed is None or claimed.channel_id != channels[index][0].channel_id:
            detail = holds.unknown(orders[index].channel, hold_id)
            outcomes[index] = _refuse(orders[index], Refusal.UNKNOWN_HOLD, detail, "/hold_id")
        elif claimed.units and claimed.hold_id not in taken:
            held[index] = claimed
            taken.add(claimed.hold_id)
    return held


def _refuse(order: NewOrder, reason: Refusal, detail: str, pointer: str) -> OrderRefused:
    return OrderRefused(order.external_id, reason, detail, pointer)


# -- the plan ------------------------------------------------------------------------------------------------------------


class _Decided(Struct, frozen=True):
    """What was asked, one request an order, what was decided, and what it was decided on."""

    requests: Sequence[Request]
    decisions: Sequence[Decision]
    hopeless: NeverServed
    shelf: Shelf


async def _plan(
    tx: Tx,
    orders: Sequence[NewOrder],
    chosen: Sequence[int],
    channels: Mapping[int, tuple[Channel, Serving]],
    digests: Mapping[int, bytes],
    skus: Mapping[str, Sku],
    held: Mapping[int, holds.Claimed],
    network: NetworkFacts,
    at: datetime,
    outcomes: dict[int, Outcome],
    locked: _Locked | None,
    beside: Sequence[NewOrder],
) -> tuple[list[PlannedOrder], Shelf, _Locked | None]:
    flow_version = await tx.plans.active(tx)
    ids = new_ids(at, 2 * len(chosen))
    early: _Early | None = None
    if locked is not None:
        early = await _claim_early(tx, orders, chosen, channels, digests, ids, network, beside, at)
    closed = {channel_id: network.closed(channel_id, at) for channel_id in {channels[i][0].channel_id for i in chosen}}
    asked = []
    for place_in_batch, index in enumerate(chosen):
        channel = channels[index][0]
        units = held[index].units if index in held else _NOTHING
        asked.append(
            _request(ids[2 * place_in_batch], orders[index], channel, skus, closed[channel.channel_id], units, at)
        )
    decided = await _decide(tx, asked, network, at, locked)
    hopeless, decisions = decided.hopeless, decided.decisions
    accepted = [
        index
        for place_in_batch, (index, decision) in enumerate(zip(chosen, decisions, strict=True))
        if not decision.refused and place_in_batch not in hopeless.orders
    ]
    wanted = _wanted_customers(orders, accepted, channels)
    if early is None:
        customers = (await _customers(tx, wanted, at))[0]
    else:
        customers = dict(early.customers)
        id_of = dict(zip(chosen, ids[::2], strict=True))
        await _give_back(tx, early, {id_of[index] for index in accepted}, wanted)
    planned = []
    for place_in_batch, (index, request, decision) in enumerate(zip(chosen, decided.requests, decisions, strict=True)):
        order = orders[index]
        if place_in_batch in hopeless.orders:
            said = hopeless.orders[place_in_batch]
            outcomes[index] = _refuse(order, Refusal.CANNOT_SHIP, said.detail, said.pointer)
            continue
        if decision.refused:
            outcomes[index] = _short_outcome(order, decision)
            continue
        goods = [line.quantity * line.unit_price_minor for line in order.lines]
        # What a discount exceeds lines and tax by comes off the shipping.
        shares = split_minor(max(order.tax_minor - order.discount_minor, -sum(goods)), goods)
        customer = (
            None if order.customer is None else customers[channels[index][0].seller_id, order.customer.external_id]
        )
        planned.append(
            PlannedOrder(
                order,
                channels[index][0],
                digests[index],
                request.request_id,
                ids[2 * place_in_batch + 1],
                customer,
                flow_version,
                tuple(need.sku_id for need in request.needs),
                tuple(worth + share for worth, share in zip(goods, shares, strict=True)),
                decision,
                tuple(need.parts for need in request.needs),
                request.held,
                held[index].hold_id if index in held else None,
                hopeless.dropped.get(place_in_batch, _POSSIBLE),
            )
        )
    return planned, decided.shelf, None if locked is None else replace(locked, claimed=True)


class _Early(Struct, frozen=True):
    """Keys and customers that were claimed before it is known which orders are accepted."""

    keys: Mapping[UUID, tuple[int, str]]  # order id -> (channel id, external id)
    customers: Mapping[tuple[int, str], UUID]
    new_customers: frozenset[UUID]


async def _claim_early(
    tx: Tx,
    orders: Sequence[NewOrder],
    chosen: Sequence[int],
    channels: Mapping[int, tuple[Channel, Serving]],
    digests: Mapping[int, bytes],
    ids: Sequence[UUID],
    network: NetworkFacts,
    beside: Sequence[NewOrder],
    at: datetime,
) -> _Early:
    """Customers and keys before days and stock, as everywhere. Raises ``Raced`` where somebody else has sent an order meanwhile."""
    wanted = _wanted_customers(orders, chosen, channels)
    keys = {
        (channels[index][0].channel_id, orders[index].external_id): (ids[2 * place_in_batch], digests[index])
        for place_in_batch, index in enumerate(chosen)
    }
    own = {order_id for order_id, _ in keys.values()}
    for order, order_id in zip(beside, new_ids(at, len(beside)), strict=True):
        channel = network.channels.get(order.channel)
        if channel is not None:
            keys.setdefault((channel.channel_id, order.external_id), (order_id, b""))
            if order.customer is not None:
                wanted.setdefault((channel.seller_id, order.customer.external_id), order.customer)
    customers, new = await _customers(tx, wanted, at)
    ordered = sorted(keys)
    claimed = await sql.claim_keys(
        tx,
        channel_ids=[key[0] for key in ordered],
        external_ids=[key[1] for key in ordered],
        order_ids=[keys[key][0] for key in ordered],
        digests=[keys[key][1] for key in ordered],
    )
    mine = {row["order_id"] for row in claimed}
    if not own <= mine:
        raise Raced([])
    return _Early({order_id: key for key, (order_id, _) in keys.items() if order_id in mine}, customers, new)


async def _give_back(
    tx: Tx, early: _Early, accepted: Collection[UUID], wanted: Mapping[tuple[int, str], NewCustomer]
) -> None:
    """What was claimed for orders that are refused is nobody's."""
    if refused := {order_id: key for order_id, key in early.keys.items() if order_id not in accepted}:
        await sql.forget_keys(
            tx,
            order_ids=list(refused),
            channel_ids=[channel_id for channel_id, _ in refused.values()],
            external_ids=[external_id for _, external_id in refused.values()],
        )
    used = {early.customers[key] for key in wanted}
    if unused := sorted(early.new_customers - used):
        await sql.forget_customers(tx, customer_ids=unused)


def _request(
    order_id: UUID,
    order: NewOrder,
    channel: Channel,
    skus: Mapping[str, Sku],
    closed: Mapping[int, Closed],
    held: Mapping[Position, int],
    at: datetime,
) -> Request:
    assert channel.network is not None, "asked before"
    needs = [
        skus[line.sku].need(line_no, line.quantity, group=line.group, unit_price_minor=line.unit_price_minor)
        for line_no, line in enumerate(order.lines, 1)
    ]
    return Request(
        order_id,
        channel.network,
        order.ship_to.country,
        order.ship_to.postal_code,
        at,
        tuple(needs),
        ShortPolicy(channel.short_policy),
        channel.channel_id,
        closed,
        held,
        channel.code,
        channel.seller,
        order.type,
        order.service_level,
        order.promised_at,
        order.ship_to.region,
        order.ship_to.city,
        order.total_minor,
        order.currency,
        None if order.customer is None else order.customer.external_id,
        ship_by_at=order.ship_by_at,
    )


async def _decide(
    tx: Tx, requests: Sequence[Request], network: NetworkFacts, at: datetime, locked: _Locked | None
) -> _Decided:
    """On what is free now; what carts' expired holds still have is let go first. Raises ``Raced`` if something is short and
    such holds have some of it: they are to be locked before anything else.
    """
    policy = await profiles(tx)
    servings = {request.network.network_id: request.network for request in requests}
    used = await capacity.used(tx, network, servings, at, locked is not None, policy.backlog_days)
    sku_ids = stocked(requests)
    if locked is not None and not locked.claimed:
        await stock.hold(tx, locked.sku_ids | locked.lapsed.sku_ids)
    shelf = await on_shelf(tx, sku_ids, at=at, lock=locked is not None)
    outlook = await outlook_for(tx, policy.looks_ahead, sku_ids)

    async def decisions_of(requests: Sequence[Request]) -> list[Decision]:
        return await decide_aside(requests, shelf.free, network, policy, used, shelf.book, outlook)

    decisions = await decisions_of(requests)
    if any(not d.legs or d.short or d.dropped for d in decisions):
        if locked is None:
            if await holds.any_lapsed(tx, sku_ids, at=at):
                raise Raced([])
        elif locked.lapsed.units:
            await holds.let_lapse(tx, locked.lapsed, at=at)
            locked.lapsed.units.clear()
            shelf = await on_shelf(tx, sku_ids, at=at, lock=True)
            decisions = await decisions_of(requests)
    hopeless = await never_served(requests, decisions, network, policy)
    if any(decisions[index].legs for index in hopeless.orders):  # what they would have taken, others may have
        requests = [
            replace(request, short_policy=ShortPolicy.REFUSE) if index in hopeless.orders else request
            for index, request in enumerate(requests)
        ]
        decisions = await decisions_of(requests)
        hopeless = await never_served(requests, decisions, network, policy)
    if shelf.claimed:
        decisions = [
            _with_claims(decision, request, shelf) for decision, request in zip(decisions, requests, strict=True)
        ]
    if policy.shadows:
        await cast_shadows(tx, policy, requests, decisions, network, (shelf.free, used, shelf.book, outlook), at)
    return _Decided(requests, decisions, hopeless, shelf)


def _with_claims(decision: Decision, request: Request, shelf: Shelf) -> Decision:
    """The decision says what was left to orders that waited, so that it can be understood and replayed."""
    sku_ids = set(stocked([request]))
    claimed = tuple((sku_id, n, units) for (sku_id, n), units in shelf.claimed.items() if sku_id in sku_ids)
    return replace(decision, explanation=replace(decision.explanation, claimed=claimed)) if claimed else decision


def _short_outcome(order: NewOrder, decision: Decision) -> OrderRefused:
    if decision.stopped_by_fences:
        detail = "There is stock, but no location that has it can ship to this address now."
        return _refuse(order, Refusal.CANNOT_SHIP, detail, "/ship_to")
    line_no = next(iter(decision.short), next(iter(decision.dropped), 1))
    line = order.lines[line_no - 1]
    missing = decision.short.get(line_no, line.quantity)
    detail = f"Of {line.quantity} units of {line.sku!r}, {missing} cannot be had now; order fewer, or try again later."
    return _refuse(order, Refusal.OUT_OF_STOCK, detail, f"/lines/{line_no - 1}/quantity")


def _wanted_customers(
    orders: Sequence[NewOrder], chosen: Sequence[int], channels: Mapping[int, tuple[Channel, Serving]]
) -> dict[tuple[int, str], NewCustomer]:
    wanted: dict[tuple[int, str], NewCustomer] = {}
    for index in chosen:
        customer = orders[index].customer
        if customer is not None:
            wanted.setdefault((channels[index][0].seller_id, customer.external_id), customer)
    return wanted


async def _customers(
    tx: Tx, wanted: Mapping[tuple[int, str], NewCustomer], at: datetime
) -> tuple[dict[tuple[int, str], UUID], frozenset[UUID]]:
    """Who they are, and which of them are new."""
    if not wanted:
        return {}, frozenset()
    keys = sorted(wanted)
    names = {"seller_ids": [key[0] for key in keys], "external_ids": [key[1] for key in keys]}
    known = {
        (row["seller_id"], row["external_id"]): row["customer_id"] for row in await sql.known_customers(tx, **names)
    }
    came: frozenset[UUID] = frozenset()
    if new := [key for key in keys if key not in known]:
        rows = await sql.claim_customers(
            tx,
            seller_ids=[key[0] for key in new],
            external_ids=[key[1] for key in new],
            customer_ids=new_ids(at, len(new)),
            names=[wanted[key].name for key in new],
            emails=[wanted[key].email for key in new],
            phones=[wanted[key].phone for key in new],
            at=at,
        )
        came = frozenset(row["customer_id"] for row in rows)
        known = {
            (row["seller_id"], row["external_id"]): row["customer_id"] for row in await sql.known_customers(tx, **names)
        }
    return known, came


# -- the writing ---------------------------------------------------------------------------------------------------------


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
    book, claimed_units = (None, _NOTHING) if shelf is None else (shelf.book, shelf.claimed)
    keep: dict[Position, int] = defaultdict(int)
    moves: list[StockMove] = []
    for plan in planned:
        if plan.decision.short:
            waiting.change(tx, _waiting(plan), {} if shelf is None else shelf.seen, at=at)
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
    await stock.post(tx, moves, at=at, keep=keep, guarded=not held)
    if waited_for := {
        plan.sku_ids[line_no - 1]: plan.parts[line_no - 1] for plan in planned for line_no in plan.decision.short
    }:
        await kit_ledger.stand(tx, waited_for)  # what orders wait for stays what it is
    return {row["order_id"]: row["status"] for row in rows}


def _waiting(plan: PlannedOrder) -> dict[waiting.Waiter, int]:
    """The units that wait, of kits their components."""
    units: dict[waiting.Waiter, int] = defaultdict(int)
    for line_no, quantity in plan.decision.short.items():
        for sku_id, each in plan.parts[line_no - 1] or ((plan.sku_ids[line_no - 1], 1),):
            units[sku_id, plan.channel.channel_id] += quantity * each
    return units


def _events(plan: PlannedOrder, at: datetime) -> Iterator[Event]:
    decision = plan.decision
    data: dict[str, Any] = {"channel": plan.channel.code, "total_minor": plan.order.total_minor}
    short = [{"line_no": line_no, "quantity": units} for line_no, units in decision.short.items()]
    if short:
        data["backordered"] = short
    if decision.dropped:
        data["accepted_total_minor"] = plan.accepted_total_minor
    yield Event(plan.order_id, plan.event_id, "order_placed", at, data, plan.flow_version)
    if decision.dropped:
        yield Event(plan.order_id, new_id(at), "lines_dropped", at, _dropped(plan), plan.flow_version)
    if short:
        yield Event(plan.order_id, new_id(at), "units_backordered", at, {"lines": short}, plan.flow_version)
    if decision.endangered:
        order = plan.order
        yield from endangered(decision, order.promised_at, order.ship_by_at, plan.flow_version, at=at)
    failed = [{"strategy": look.strategy, "why": look.passed} for look in decision.explanation.looks if look.failed]
    if failed:
        told = {"profile": decision.explanation.profile, "strategies": failed}
        yield Event(plan.order_id, new_id(at), "condition_failed", at, told, plan.flow_version)


def _dropped(plan: PlannedOrder) -> dict[str, Any]:
    """The facts of the event: the lines with their amounts and why, and what is left of the total."""
    lines = []
    for line in plan.dropped_lines():
        told = {**asdict(line), "amount_minor": plan.amounts[line.line_no - 1]}
        if line.line_no in plan.never:
            told["detail"] = plan.never[line.line_no]
        lines.append(told)
    return {"lines": lines, "accepted_total_minor": plan.accepted_total_minor}


def _order_columns(planned: Sequence[PlannedOrder]) -> dict[str, Any]:
    orders = [plan.order for plan in planned]
    addresses = [order.ship_to for order in orders]
    ordered, backordered, cancelled = [], [], []
    for plan in planned:
        ordered.append(sum(line.quantity for line in plan.order.lines))
        backordered.append(sum(plan.decision.short.values()))
        cancelled.append(sum(plan.order.lines[line_no - 1].quantity for line_no in plan.decision.dropped))
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
        "provider": BUILT_IN_PROVIDER,
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
