"""Placement: a batch of orders is checked, priced, sourced, reserved and written in one transaction.

The first try reads stock without a lock and lets the guarded update have the last word. If somebody was faster, the
transaction is run again on stock that it holds from the start; that try cannot be overtaken. Where units are kept for channels or
lots have expired, every try is such a one. What it holds it takes in the order of ``core/locks.py``, before it decides: keys and
customers of orders that are refused in the end are given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from ordino.core.database import Raced, Tx
from ordino.core.ids import new_ids
from ordino.core.money import split_minor
from ordino.inventory import holds
from ordino.inventory import ledger as stock
from ordino.inventory.rules import Position
from ordino.inventory.shelf import Shelf, must_hold, on_shelf
from ordino.network.facts import Channel, Closed, NetworkFacts, Serving, facts
from ordino.orders import capacity
from ordino.orders.asking import Sku, known_skus, unknown_level
from ordino.orders.checks import fault_of, no_channel, payment_fault, price_fault, refuse, sku_fault
from ordino.orders.keys import Early, claim_early, customers_of, forget_unused, wanted_customers
from ordino.orders.model import NewOrder, OrderRefused, Placed, Refusal
from ordino.orders.never import NeverServed, never_served
from ordino.orders.planned import PlannedOrder, write
from ordino.orders.repeats import answer_repeats, digest_of
from ordino.orders.shadows import Seen, keep_for_shadows
from ordino.sourcing.aside import decide_aside
from ordino.sourcing.decide import stocked
from ordino.sourcing.model import Decision, Request, ShortPolicy
from ordino.sourcing.outlook import outlook_for
from ordino.sourcing.versions import profiles

_NOTHING: Mapping[Position, int] = {}
_POSSIBLE: Mapping[int, str] = {}

Outcome = Placed | OrderRefused


async def place(tx: Tx, orders: Sequence[NewOrder], *, at: datetime) -> list[Outcome]:
    """One outcome an order, in order. An order that the channel sent before is answered as the first time.

    So is one that stands in the set twice: whoever waits for the stock that was taken does not wait for its repeats. Only where the
    first was refused and the next says something else is that to be placed, too, after stock was taken: everything is held then.
    """
    outcomes: list[Outcome | None] = [None] * len(orders)
    pending: list[tuple[int, NewOrder]] = []
    for index, order in enumerate(orders):
        fault = fault_of(order)
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
            outcomes[index] = refuse(order, Refusal.UNKNOWN_CHANNEL, no_channel(order, channel), "/channel")
        else:
            known[index] = channel
    digests = {index: digest_of(orders[index]) for index in known}
    outcomes |= await answer_repeats(tx, orders, known, digests)
    channels: dict[int, tuple[Channel, Serving]] = {}
    for index, channel in known.items():
        if index in outcomes:
            continue
        if channel.network is None:
            detail = no_channel(orders[index], channel)
            outcomes[index] = refuse(orders[index], Refusal.UNKNOWN_CHANNEL, detail, "/channel")
        else:
            channels[index] = (channel, channel.network)
    open_ = [index for index in channels if index not in outcomes]
    for index in open_:
        refusal = price_fault(orders[index], channels[index][0]) or payment_fault(orders[index])
        if refusal is not None:
            outcomes[index] = refusal
    skus = await known_skus(
        tx, {line.sku for order in (*(orders[index] for index in open_), *beside) for line in order.lines}
    )
    for index in open_:
        if index not in outcomes and (refusal := sku_fault(orders[index], skus)) is not None:
            outcomes[index] = refusal
        elif index not in outcomes and (said := unknown_level(network, orders[index].service_level)) is not None:
            outcomes[index] = refuse(orders[index], Refusal.UNKNOWN_SERVICE_LEVEL, said, "/service_level")
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
        plans = {(plan.order.channel, plan.order.external_id): plan for plan in planned}
        for index in chosen:
            if index not in outcomes:
                plan = plans[orders[index].channel, orders[index].external_id]
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
            outcomes[index] = refuse(orders[index], Refusal.UNKNOWN_HOLD, detail, "/hold_id")
        elif claimed.units and claimed.hold_id not in taken:
            held[index] = claimed
            taken.add(claimed.hold_id)
    return held


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
    early: Early | None = None
    if locked is not None:
        early = await claim_early(tx, orders, chosen, channels, digests, ids, network, beside, at)
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
    wanted = wanted_customers(orders, accepted, channels)
    if early is None:
        customers = (await customers_of(tx, wanted, at))[0]
    else:
        customers = dict(early.customers)
        id_of = dict(zip(chosen, ids[::2], strict=True))
        await forget_unused(tx, early, {id_of[index] for index in accepted}, wanted)
    planned = []
    for place_in_batch, (index, request, decision) in enumerate(zip(chosen, decided.requests, decisions, strict=True)):
        order = orders[index]
        if place_in_batch in hopeless.orders:
            said = hopeless.orders[place_in_batch]
            outcomes[index] = refuse(order, Refusal.CANNOT_SHIP, said.detail, said.pointer)
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
            locked.lapsed.units.clear()  # also for the orders that come later in this transaction
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
        seen = Seen(shelf.free, used, shelf.book, outlook)
        await keep_for_shadows(tx, policy, requests, decisions, network, seen, at)
    return _Decided(requests, decisions, hopeless, shelf)


def _with_claims(decision: Decision, request: Request, shelf: Shelf) -> Decision:
    """The decision says what was left to orders that waited, so that it can be understood and replayed."""
    sku_ids = set(stocked([request]))
    claimed = tuple((sku_id, n, units) for (sku_id, n), units in shelf.claimed.items() if sku_id in sku_ids)
    return replace(decision, explanation=replace(decision.explanation, claimed=claimed)) if claimed else decision


def _short_outcome(order: NewOrder, decision: Decision) -> OrderRefused:
    if decision.stopped_by_fences:
        detail = "There is stock, but no location that has it can ship to this address now."
        return refuse(order, Refusal.CANNOT_SHIP, detail, "/ship_to")
    line_no = next(iter(decision.short), next(iter(decision.dropped), 1))
    line = order.lines[line_no - 1]
    missing = decision.short.get(line_no, line.quantity)
    detail = f"Of {line.quantity} units of {line.sku!r}, {missing} cannot be had now; order fewer, or try again later."
    return refuse(order, Refusal.OUT_OF_STOCK, detail, f"/lines/{line_no - 1}/quantity")
