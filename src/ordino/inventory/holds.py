"""Holds: units kept for a cart until it becomes an order, lets them go or expires.

HLD-1  An open hold has reserved exactly what its lines ask for, and an ended one nothing.
HLD-2  Between a hold and the order that it becomes, nobody else can take its units: both are one transaction.
HLD-3  What has expired is free: whoever asks for it gets it, whether or not a worker has come by meanwhile.
HLD-4  A cart has one open hold at most. To hold the cart again replaces what it holds, all or nothing, under the same hold id.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta, Struct
from msgspec.structs import replace

from ordino.catalog.codes import sku_ids
from ordino.catalog.kits import Parts, kits
from ordino.catalog.retired import retired
from ordino.core.codes import Code, LongCode
from ordino.core.database import Raced, Tx
from ordino.core.errors import NotFound
from ordino.core.events import Event, record
from ordino.core.ids import new_ids
from ordino.core.statements import statements
from ordino.inventory import kits as kit_ledger
from ordino.inventory import ledger
from ordino.inventory.events import HoldExpired, HoldReleased, UnitsHeld
from ordino.inventory.model import MoveKind, StockMove
from ordino.inventory.rules import Position
from ordino.inventory.shelf import Shelf, must_hold, on_shelf
from ordino.network.facts import Channel, NetworkFacts, facts

sql = statements("ordino.inventory")
MINUTES = 15
MAX_MINUTES = 7 * 24 * 60
MAX_LINES = 500
MAX_UNITS = 10**9
EXPIRED_AT_ONCE = 1000

Minutes = Annotated[int, Meta(ge=1, le=MAX_MINUTES)]


class HoldLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sku: Code
    quantity: Annotated[int, Meta(ge=1, le=MAX_UNITS)]


class NewHold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a cart wants to be held, all or nothing. ``cart`` is what the channel calls it: held again, the cart keeps its hold,
    with these lines instead of those before. A hold without ``cart`` is always a new one.
    """

    channel: Code
    cart: LongCode | None = None
    lines: Annotated[list[HoldLine], Meta(min_length=1, max_length=MAX_LINES)]
    minutes: Minutes = MINUTES


class HoldChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a hold is to be from now on: its lines (all of them), its end in so many minutes, or both."""

    hold_id: UUID
    lines: Annotated[list[HoldLine], Meta(min_length=1, max_length=MAX_LINES)] | None = None
    minutes: Minutes | None = None


class HoldRefusal(StrEnum):
    """Why nothing was held or changed, in the order in which the reasons are tested."""

    INVALID = "invalid"
    UNKNOWN_HOLD = "unknown_hold"
    ENDED = "ended"  # It has expired, was let go or has become an order.
    UNKNOWN_CHANNEL = "unknown_channel"
    UNKNOWN_SKU = "unknown_sku"
    OUT_OF_STOCK = "out_of_stock"


class Held(Struct, frozen=True, tag_field="outcome", tag="held"):
    """The units are kept until ``expires_at``; name ``hold_id`` when the cart is ordered. ``replaced``: the cart had this
    hold before, and it holds this now instead.
    """

    hold_id: UUID
    expires_at: datetime
    replaced: bool = False


class Released(Struct, frozen=True, tag_field="outcome", tag="released"):
    """The units are free."""

    hold_id: UUID


class HoldRefused(Struct, frozen=True, tag_field="outcome", tag="refused"):
    """Nothing was changed: an earlier hold stays as it was."""

    hold_id: UUID | None
    reason: HoldRefusal
    detail: str
    pointer: str = ""


class Claimed(Struct, frozen=True):
    """What a hold keeps for whoever names it: units by (SKU id, location id). ``hold_id`` is whose units they are."""

    hold_id: UUID
    channel_id: int
    units: Mapping[Position, int]


class HoldLineView(Struct, frozen=True):
    sku: str
    quantity: int


class HoldView(Struct, frozen=True):
    """``status`` is `open`, `ordered`, `released` or `expired`."""

    hold_id: UUID
    channel: str
    cart: str | None
    status: str
    held_at: datetime
    expires_at: datetime
    order_id: UUID | None
    lines: list[HoldLineView]


class _Wish(Struct):
    """One hold as it is to be: every cart's wish is answered in turn, and the earlier ones take first."""

    hold_id: UUID
    channel: Channel
    cart: str | None
    expires_at: datetime
    lines: list[tuple[str, int, int, Parts]]  # code, SKU id, units, of a kit its parts
    had: dict[Position, int]
    new: bool


Cart = tuple[int, str]
"""(channel id, what the channel calls it)"""


async def hold(tx: Tx, holds: Sequence[NewHold], *, at: datetime) -> list[Held | HoldRefused]:
    """One outcome a hold, in order. Each is held whole or not at all; what a cart holds already counts for it."""
    network = await facts(tx)
    skus, gone = await _skus(tx, [line.sku for wanted in holds for line in wanted.lines])
    named = Counter((wanted.channel, wanted.cart) for wanted in holds if wanted.cart is not None)
    # If a cart stands there twice, one hold comes after the other: all that any of them takes is held before the first.
    held = any(times > 1 for times in named.values())
    outcomes: dict[int, Held | HoldRefused] = {}
    wishes: dict[int, _Wish] = {}
    carts: dict[int, Cart] = {}
    later: dict[int, NewHold] = {}
    for (index, wanted), hold_id in zip(enumerate(holds), new_ids(at, len(holds)), strict=True):
        channel = network.channels.get(wanted.channel)
        if not 1 <= wanted.minutes <= MAX_MINUTES:
            outcomes[index] = HoldRefused(
                None, HoldRefusal.INVALID, f"A hold lasts 1 to {MAX_MINUTES} minutes.", "/minutes"
            )
        elif channel is None or channel.network is None:
            detail = f"No network serves a channel {wanted.channel!r}; add the channel to a network (PUT /v1/networks)."
            outcomes[index] = HoldRefused(None, HoldRefusal.UNKNOWN_CHANNEL, detail, "/channel")
        else:
            lines = _lines(wanted.lines, skus, gone, None)
            if isinstance(lines, HoldRefused):
                outcomes[index] = lines
                continue
            if wanted.cart is not None:
                cart = (channel.channel_id, wanted.cart)
                if cart in carts.values():
                    later[index] = wanted  # the same cart again: after what was said of it before
                    continue
                carts[index] = cart
            until = at + timedelta(minutes=wanted.minutes)
            wishes[index] = _Wish(hold_id, channel, wanted.cart, until, lines, {}, True)
    known = {sku_id for sku_id, _ in skus.values()} | {part for _, parts in skus.values() for part, _ in parts}
    held = held or await must_hold(tx, known, at=at)
    if carts:
        outcomes |= await _grant_carts(tx, wishes, carts, network, at, known if held else None)
    else:
        if held and wishes:
            await lapse_and_hold(tx, known, at=at)
        outcomes |= await _grant(tx, wishes, network, at, held=held)
    if later:
        outcomes |= dict(zip(later, await hold(tx, list(later.values()), at=at), strict=True))
    return [outcomes[index] for index in range(len(holds))]


async def change(tx: Tx, changes: Sequence[HoldChange], *, at: datetime) -> list[Held | HoldRefused]:
    """One outcome a change, in order. What a cart wants more must be there; else the hold stays as it was."""
    network = await facts(tx)
    skus, gone = await _skus(tx, [line.sku for wanted in changes for line in wanted.lines or ()])
    named = [wanted.hold_id for wanted in changes]
    known = {sku_id for sku_id, _ in skus.values()} | {part for _, parts in skus.values() for part, _ in parts}
    known |= {sku_id for units in (await _reserved(tx, named)).values() for sku_id, _ in units}
    held = len(set(named)) < len(named) or await must_hold(tx, known, at=at)
    if held:
        await lapse_and_hold(tx, known, at=at, beside=named)
    found = await _lock(tx, named)
    had = await _reserved(tx, list(found))
    if held and not known.issuperset(sku_id for units in had.values() for sku_id, _ in units):
        raise Raced([])  # another change came first, and the hold has other units since
    outcomes: dict[int, Held | HoldRefused] = {}
    wishes: dict[int, _Wish] = {}
    later: dict[int, HoldChange] = {}
    for index, wanted in enumerate(changes):
        refusal = _unchangeable(wanted, found, at)
        if refusal is not None:
            outcomes[index] = refusal
            continue
        if any(wish.hold_id == wanted.hold_id for wish in wishes.values()):
            later[index] = wanted  # the same hold again: after what was said of it before
            continue
        row = found[wanted.hold_id]
        lines = (
            await _lines_of(tx, wanted.hold_id)
            if wanted.lines is None
            else _lines(wanted.lines, skus, gone, wanted.hold_id)
        )
        if isinstance(lines, HoldRefused):
            outcomes[index] = lines
            continue
        until = row["expires_at"] if wanted.minutes is None else at + timedelta(minutes=wanted.minutes)
        channel = network.channels_by_id[row["channel_id"]]
        wishes[index] = _Wish(wanted.hold_id, channel, row["cart"], until, lines, had.get(wanted.hold_id, {}), False)
    outcomes |= await _grant(tx, wishes, network, at, held=held)
    if later:
        outcomes |= dict(zip(later, await change(tx, list(later.values()), at=at), strict=True))
    return [outcomes[index] for index in range(len(changes))]


async def release(tx: Tx, hold_ids: Sequence[UUID], *, at: datetime) -> list[Released | HoldRefused]:
    """One outcome a hold, in order. What was let go or has expired before is answered alike."""
    found = await _lock(tx, hold_ids)
    await _end(tx, [hold_id for hold_id, row in found.items() if row["ended_at"] is None], at, HoldReleased)
    outcomes: list[Released | HoldRefused] = []
    for hold_id in hold_ids:
        row = found.get(hold_id)
        if row is None:
            detail = f"There is no hold {hold_id}."
            outcomes.append(HoldRefused(hold_id, HoldRefusal.UNKNOWN_HOLD, detail, "/hold_id"))
        elif row["order_id"] is not None:
            detail = f"The hold has become the order {row['order_id']}; cancel the order instead."
            outcomes.append(HoldRefused(hold_id, HoldRefusal.ENDED, detail, "/hold_id"))
        else:
            outcomes.append(Released(hold_id))
    return outcomes


async def expire(tx: Tx, since: datetime, at: datetime) -> None:
    """Holds whose time is over let go."""
    rows = await sql.expired_holds(tx, at=at, limit=EXPIRED_AT_ONCE)
    await _end(tx, [row["hold_id"] for row in rows], at, HoldExpired)


class Lapsed(Struct, frozen=True):
    """Holds that have expired and still have units of some SKUs, locked; and what they have."""

    units: dict[UUID, dict[Position, int]]

    @property
    def sku_ids(self) -> set[int]:
        """Of all that they have, not only of the SKUs that were asked for."""
        return {sku_id for units in self.units.values() for sku_id, _ in units}


async def units_of(tx: Tx, hold_ids: Collection[UUID]) -> dict[UUID, dict[Position, int]]:
    """Hold id -> what it has reserved, expired or not."""
    return await _reserved(tx, list(hold_ids))


async def any_lapsed(tx: Tx, sku_ids: Collection[int], *, at: datetime) -> bool:
    """Do expired holds still have units of these SKUs? Who finds that out too late to lock them in their turn starts again."""
    return bool(await sql.lapsed_holds(tx, sku_ids=list(sku_ids), at=at))


async def lock_lapsed(tx: Tx, sku_ids: Collection[int], *, at: datetime, beside: Collection[UUID] = ()) -> Lapsed:
    """Lock the expired holds that still have units of these SKUs, and in the same order those ``beside`` them, with the ones that
    the carts of those have today.
    """
    rows = await sql.lapsed_holds(tx, sku_ids=list(sku_ids), at=at)
    today = await sql.holds_today(tx, hold_ids=list(beside)) if beside else ()
    expired = {row["order_id"] for row in rows}
    found = await _lock(tx, sorted({*expired, *beside, *(row["hold_id"] for row in today)}))
    over = [id for id, row in found.items() if id in expired and row["ended_at"] is None and row["expires_at"] <= at]
    units = await _reserved(tx, over)
    return Lapsed({hold_id: units.get(hold_id, {}) for hold_id in over})


async def let_lapse(tx: Tx, lapsed: Lapsed, *, at: datetime) -> None:
    """Free what these holds have. Their positions must be held where others are held with them."""
    await _end(tx, list(lapsed.units), at, HoldExpired)


async def lapse_and_hold(tx: Tx, sku_ids: Collection[int], *, at: datetime, beside: Collection[UUID] = ()) -> Lapsed:
    """Hold the stock of these SKUs, and free what expired holds have of them: the holds first, then all stock in one statement."""
    lapsed = await lock_lapsed(tx, sku_ids, at=at, beside=beside)
    await ledger.hold(tx, {*sku_ids, *lapsed.sku_ids})
    await let_lapse(tx, lapsed, at=at)
    return lapsed


async def lapse_first(tx: Tx, keys: Collection[Position], *, at: datetime) -> None:
    """Hold these positions, which begin if they are new, and free what expired holds have of their SKUs."""
    skus = {sku_id for sku_id, _ in keys}
    lapsed = await lock_lapsed(tx, skus, at=at)
    if lapsed.units:
        ordered = sorted(keys)
        await sql.open_positions(tx, sku_ids=[key[0] for key in ordered], location_ids=[key[1] for key in ordered])
        await ledger.hold(tx, skus | lapsed.sku_ids)
        await let_lapse(tx, lapsed, at=at)


async def claim(
    tx: Tx, hold_ids: Collection[UUID], *, at: datetime, lock: bool = True, locked: bool = False
) -> dict[UUID, Claimed]:
    """Hold id as it was named -> what it keeps, of every hold that is there; with ``lock``, held for the order that it becomes.

    One that has ended or expired keeps nothing, unless its cart has been held again since: then the cart's hold of today does. That
    one is to be locked with the others, in their order. Raises ``Raced`` where it is not ``locked`` before, by ``lock_lapsed``.
    """
    find = _lock if lock else _read
    found = await find(tx, list(hold_ids))
    stands = {named: row for named, row in found.items() if _is_open(row, at)}
    over = {
        named: (row["channel_id"], row["cart"])
        for named, row in found.items()
        if named not in stands and row["cart"] is not None and row["order_id"] is None
    }
    if over:
        rows = await sql.holds_of_carts(
            tx, channel_ids=[cart[0] for cart in over.values()], carts=[cart[1] for cart in over.values()]
        )
        today = {(row["channel_id"], row["cart"]): row["hold_id"] for row in rows}
        missing = sorted(set(today.values()) - found.keys())
        if missing and lock and not locked:
            raise Raced([])
        others = await find(tx, missing)
        for named, cart in over.items():
            row = others.get(today[cart]) or found.get(today[cart]) if cart in today else None
            if row is not None and _is_open(row, at):
                stands[named] = row
    had = await _reserved(tx, [row["hold_id"] for row in stands.values()])
    return {
        named: Claimed(row["hold_id"], row["channel_id"], had.get(row["hold_id"], {}) if named in stands else {})
        for named, row in (found | stands).items()
    }


def unknown(channel: str, hold_id: UUID) -> str:
    """The sentence that refuses a hold that the channel does not have."""
    return (
        f"The channel {channel!r} has no hold {hold_id}; leave `hold_id` out, or send the one of this channel's cart."
    )


async def turn(tx: Tx, orders: Mapping[UUID, UUID], *, at: datetime) -> None:
    """Hold id -> order id: the hold has become the order. Its units are let go in the moves that reserve the order's."""
    await sql.end_holds(tx, hold_ids=list(orders), order_ids=list(orders.values()), at=at)


def let_go(hold_id: UUID, units: Mapping[Position, int], cause_id: UUID) -> list[StockMove]:
    """The moves by which a hold ends."""
    return [
        StockMove(sku_id, location_id, cause_id, MoveKind.LET_GO, reserved_delta=-quantity, order_id=hold_id)
        for (sku_id, location_id), quantity in units.items()
    ]


async def hold_of(tx: Tx, hold_id: UUID, *, at: datetime) -> HoldView:
    """One hold. Raises ``NotFound``."""
    rows = await sql.hold_by_id(tx, hold_id=hold_id)
    if not rows:
        raise NotFound(f"There is no hold {hold_id}.")
    row = rows[0]
    channel = (await facts(tx)).channels_by_id[row["channel_id"]].code
    lines = [HoldLineView(line["code"], line["quantity"]) for line in await sql.hold_lines(tx, hold_id=hold_id)]
    status = "expired" if row["status"] == "open" and row["expires_at"] <= at else row["status"]
    return HoldView(hold_id, channel, row["cart"], status, row["held_at"], row["expires_at"], row["order_id"], lines)


async def holds_of(tx: Tx, channel: str, cart: str, *, at: datetime) -> list[HoldView]:
    """The hold that a cart has, or had last; empty if nothing was ever held for it. Raises ``NotFound`` for an unknown channel."""
    known = (await facts(tx)).channels.get(channel)
    if known is None:
        raise NotFound(f"There is no channel {channel!r}.")
    rows = await sql.hold_of_cart(tx, channel_id=known.channel_id, cart=cart)
    return [await hold_of(tx, row["hold_id"], at=at) for row in rows]


async def expired_units(tx: Tx, sku_id: int, *, at: datetime) -> dict[int, int]:
    """Location id -> units of a SKU that holds which had expired at a time still had reserved then: free for whoever asked."""
    rows = await sql.held_at(tx, sku_id=sku_id, at=at)
    found = await _read(tx, sorted({row["hold_id"] for row in rows}))
    units: dict[int, int] = defaultdict(int)
    for row in rows:
        if row["hold_id"] in found and found[row["hold_id"]]["expires_at"] <= at:
            units[row["location_id"]] += row["quantity"]
    return dict(units)


# -- what it takes -----------------------------------------------------------------------------------------------------


async def _skus(tx: Tx, codes: Sequence[str]) -> tuple[dict[str, tuple[int, Parts]], frozenset[int]]:
    """Code -> SKU id and what it is made of; and which SKUs are no longer sold."""
    parts = (await kits(tx)).parts
    known = {code: (sku_id, parts.get(sku_id, ())) for code, sku_id in (await sku_ids(tx, codes)).items()}
    return known, await retired(tx)


def _lines(
    wanted: Sequence[HoldLine], skus: Mapping[str, tuple[int, Parts]], gone: frozenset[int], hold_id: UUID | None
) -> list[tuple[str, int, int, Parts]] | HoldRefused:
    units: dict[str, int] = defaultdict(int)
    for index, line in enumerate(wanted):
        if not 1 <= line.quantity <= MAX_UNITS:
            detail = f"Hold 1 to {MAX_UNITS} units of a SKU, not {line.quantity}; leave the line out if none is wanted."
            return HoldRefused(hold_id, HoldRefusal.INVALID, detail, f"/lines/{index}/quantity")
        if line.sku not in skus or skus[line.sku][0] in gone:
            said = "does not exist; create it with PUT /v1/skus" if line.sku not in skus else "is no longer sold"
            detail = f"The SKU {line.sku!r} {said}."
            return HoldRefused(hold_id, HoldRefusal.UNKNOWN_SKU, detail, f"/lines/{index}/sku")
        units[line.sku] += line.quantity
    return [(code, skus[code][0], quantity, skus[code][1]) for code, quantity in units.items()]


async def _lines_of(tx: Tx, hold_id: UUID) -> list[tuple[str, int, int, Parts]]:
    rows = await sql.hold_lines(tx, hold_id=hold_id)
    parts = await kit_ledger.frozen(tx, [(hold_id, row["line_no"]) for row in rows])
    return [(row["code"], row["sku_id"], row["quantity"], parts.get((hold_id, row["line_no"]), ())) for row in rows]


def _unchangeable(wanted: HoldChange, found: Mapping[UUID, Any], at: datetime) -> HoldRefused | None:
    row = found.get(wanted.hold_id)
    if wanted.minutes is not None and not 1 <= wanted.minutes <= MAX_MINUTES:
        return HoldRefused(wanted.hold_id, HoldRefusal.INVALID, f"A hold lasts 1 to {MAX_MINUTES} minutes.", "/minutes")
    if wanted.lines is None and wanted.minutes is None:
        return HoldRefused(wanted.hold_id, HoldRefusal.INVALID, "Nothing to change: send `lines`, `minutes`, or both.")
    if row is None:
        return HoldRefused(wanted.hold_id, HoldRefusal.UNKNOWN_HOLD, f"There is no hold {wanted.hold_id}.", "/hold_id")
    if not _is_open(row, at):
        said = (
            "has become an order; amend the order instead"
            if row["order_id"] is not None
            else "has ended; create a new one"
        )
        return HoldRefused(wanted.hold_id, HoldRefusal.ENDED, f"The hold {said}.", "/hold_id")
    return None


async def _lock(tx: Tx, hold_ids: Sequence[UUID]) -> dict[UUID, Any]:
    rows = await sql.lock_holds(tx, hold_ids=list(hold_ids)) if hold_ids else []
    return {row["hold_id"]: row for row in rows}


async def _read(tx: Tx, hold_ids: Sequence[UUID]) -> dict[UUID, Any]:
    rows = await sql.read_holds(tx, hold_ids=list(hold_ids)) if hold_ids else []
    return {row["hold_id"]: row for row in rows}


def _is_open(row: Any, at: datetime) -> bool:
    return row["ended_at"] is None and row["expires_at"] > at


async def _reserved(tx: Tx, hold_ids: Sequence[UUID]) -> dict[UUID, dict[Position, int]]:
    """What these holds have reserved."""
    units: dict[UUID, dict[Position, int]] = defaultdict(dict)
    for row in await sql.held_units(tx, hold_ids=list(hold_ids)) if hold_ids else []:
        units[row["order_id"]][row["sku_id"], row["location_id"]] = row["quantity"]
    return units


async def _grant_carts(
    tx: Tx,
    wishes: Mapping[int, _Wish],
    carts: Mapping[int, Cart],
    network: NetworkFacts,
    at: datetime,
    held_skus: Collection[int] | None,
) -> dict[int, Held | HoldRefused]:
    """Wishes of which some are for carts, each cart once. A cart that has an open hold keeps it, with what it wants now.

    With ``held_skus``, these are held from here on, and what expired holds have of them is free.
    """
    rows = await sql.claim_carts(tx, **_cart_columns(carts, wishes))
    known = {(row["channel_id"], row["cart"]): row["hold_id"] for row in rows}
    before = {index: known[cart] for index, cart in carts.items() if known[cart] != wishes[index].hold_id}
    if held_skus is None:
        found = await _lock(tx, list(before.values()))
    else:
        lapsed = await lock_lapsed(tx, held_skus, at=at, beside=list(before.values()))
        found = await _lock(tx, list(before.values()))
        over = [id for id, row in found.items() if row["ended_at"] is None and not _is_open(row, at)]
        units = await _reserved(tx, list(found))
        lapsed = Lapsed({**lapsed.units, **{hold_id: units.get(hold_id, {}) for hold_id in over}})
        await ledger.hold(tx, {*held_skus, *lapsed.sku_ids, *(sku_id for of in units.values() for sku_id, _ in of)})
        await let_lapse(tx, lapsed, at=at)
        found = {hold_id: row for hold_id, row in found.items() if hold_id not in lapsed.units}
    standing = {hold_id: row for hold_id, row in found.items() if row["ended_at"] is None}
    if any(not _is_open(row, at) for row in standing.values()):
        raise Raced([])  # what they have is free; its stock is to be held with the rest
    had = await _reserved(tx, [hold_id for hold_id, row in standing.items() if _is_open(row, at)])
    for index, hold_id in before.items():
        if hold_id in standing and _is_open(standing[hold_id], at):
            wish = wishes[index]
            wish.hold_id, wish.had, wish.new = hold_id, had.get(hold_id, {}), False
    outcomes = await _grant(tx, wishes, network, at, held=held_skus is not None)
    granted = {index: cart for index, cart in carts.items() if isinstance(outcomes[index], Held)}
    if anew := {index: cart for index, cart in granted.items() if index in before and wishes[index].new}:
        await sql.point_carts(tx, **_cart_columns(anew, wishes))
    if never := {index: cart for index, cart in carts.items() if index not in granted and index not in before}:
        await sql.forget_carts(tx, **_cart_columns(never, wishes))
    return {
        index: replace(outcome, replaced=True) if index in granted and not wishes[index].new else outcome
        for index, outcome in outcomes.items()
    }


def _cart_columns(carts: Mapping[int, Cart], wishes: Mapping[int, _Wish]) -> dict[str, list[Any]]:
    return {
        "channel_ids": [cart[0] for cart in carts.values()],
        "carts": [cart[1] for cart in carts.values()],
        "hold_ids": [wishes[index].hold_id for index in carts],
    }


async def _grant(
    tx: Tx, wishes: Mapping[int, _Wish], network: NetworkFacts, at: datetime, *, held: bool
) -> dict[int, Held | HoldRefused]:
    """Answer every wish with what is free, and write down what was granted; stock last. Raises ``Raced`` where something is short
    and expired holds have some of it, unless all that was ``held`` before.
    """
    if not wishes:
        return {}
    sku_ids = sorted({sku_id for wish in wishes.values() for sku_id in _stocked(wish)})
    shelf = _Shelf(await on_shelf(tx, sku_ids, at=at, lock=held))
    chosen = {index: shelf.choose(wish, network, at) for index, wish in wishes.items()}
    if None in chosen.values() and not held and await any_lapsed(tx, sku_ids, at=at):
        raise Raced([])
    outcomes: dict[int, Held | HoldRefused] = {}
    granted: dict[int, dict[Position, int]] = {}
    for index, units in chosen.items():
        wish = wishes[index]
        if units is None:
            hold_id = None if wish.new else wish.hold_id
            outcomes[index] = HoldRefused(hold_id, HoldRefusal.OUT_OF_STOCK, _too_little(wish), "/lines")
        else:
            granted[index] = units
            outcomes[index] = Held(wish.hold_id, wish.expires_at)
    await _write(tx, [wishes[index] for index in granted], list(granted.values()), shelf.keep, at, held=held)
    return outcomes


def _stocked(wish: _Wish) -> set[int]:
    return {sku_id for _, kit, _, parts in wish.lines for sku_id, _ in parts or ((kit, 1),)}


def _too_little(wish: _Wish) -> str:
    named = ", ".join(f"{quantity} of {code!r}" for code, _, quantity, _ in wish.lines[:5])
    stays = "" if wish.new else f" The hold {wish.hold_id} stays as it was."
    more = " and more" if len(wish.lines) > 5 else ""
    return f"There is not enough stock for {named}{more}; ask for less, or try again later.{stays}"


class _Shelf:
    """What is left of the stock while wishes are granted."""

    def __init__(self, seen: Shelf) -> None:
        self._free = {sku_id: dict(places) for sku_id, places in seen.free.items()}
        self._rules = seen.book
        self._claimed = seen.claimed
        self._taken: dict[Position, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        self.keep: dict[Position, int] = defaultdict(int)

    def choose(self, wish: _Wish, network: NetworkFacts, at: datetime) -> dict[Position, int] | None:
        """Where the units are to be held: at one location, if one has everything, else where most is. None: too little."""
        serving = wish.channel.network
        assert serving is not None, "asked before"
        for (sku_id, location_id), units in wish.had.items():
            free = self._free.setdefault(sku_id, {})
            free[location_id] = free.get(location_id, 0) + units
        places = {place for sku_id in _stocked(wish) for place in self._free.get(sku_id, ())}
        closed = frozenset(network.closed(wish.channel.channel_id, at))
        open_ = places & network.open_members(serving, closed).keys()
        able = {n: {sku_id: self._able(wish, network, sku_id, n) for sku_id in _stocked(wish)} for n in open_}
        left = {line: line[2] for line in wish.lines}
        chosen: dict[Position, int] = defaultdict(int)
        by_cover = {n: sum(_cover(left, able[n]).values()) for n in open_}
        stays = {location_id for _, location_id in wish.had}
        most = {n: sum(able[n].values()) for n in open_}
        for place in sorted(open_, key=lambda n: (-by_cover[n], n not in stays, -most[n], n)):
            for line, units in _cover(left, able[place]).items():
                left[line] -= units
                for sku_id, each in line[3] or ((line[1], 1),):
                    chosen[sku_id, place] += units * each
            if not any(left.values()):
                break
        if any(left.values()):
            for (sku_id, location_id), units in wish.had.items():
                self._free[sku_id][location_id] -= units
            return None
        for (sku_id, location_id), units in chosen.items():
            self._free[sku_id][location_id] -= units
            self._taken[sku_id, location_id][wish.channel.channel_id] += units - wish.had.get((sku_id, location_id), 0)
            withheld = self._withheld(wish, network, sku_id, location_id)
            withheld += self._claimed.get((sku_id, location_id), 0)
            self.keep[sku_id, location_id] = max(self.keep[sku_id, location_id], withheld)
        return dict(chosen)

    def _able(self, wish: _Wish, network: NetworkFacts, sku_id: int, location_id: int) -> int:
        had = wish.had.get((sku_id, location_id), 0)
        free = self._free.get(sku_id, {}).get(location_id, 0) - had
        return had + max(free - self._withheld(wish, network, sku_id, location_id), 0)

    def _withheld(self, wish: _Wish, network: NetworkFacts, sku_id: int, location_id: int) -> int:
        serving = wish.channel.network
        assert serving is not None, "asked before"
        if self._rules is None:
            return serving.buffers[location_id]
        taken = self._taken[sku_id, location_id]
        location = network.locations[location_id]
        return self._rules.withheld(serving, wish.channel.channel_id, sku_id, location, taken)


_Line = tuple[str, int, int, Parts]


def _cover(left: Mapping[_Line, int], able: Mapping[int, int]) -> dict[_Line, int]:
    """What a location can give of all lines together."""
    there = dict(able)
    cover = {}
    for line, units in left.items():
        parts = line[3] or ((line[1], 1),)
        given = min([units, *(there[sku_id] // each for sku_id, each in parts)])
        if given > 0:
            cover[line] = given
            for sku_id, each in parts:
                there[sku_id] -= given * each
    return cover


async def _write(
    tx: Tx,
    wishes: Sequence[_Wish],
    granted: Sequence[Mapping[Position, int]],
    keep: Mapping[Position, int],
    at: datetime,
    *,
    held: bool,
) -> None:
    if not wishes:
        return
    await sql.write_holds(
        tx,
        hold_ids=[wish.hold_id for wish in wishes],
        channel_ids=[wish.channel.channel_id for wish in wishes],
        carts=[wish.cart for wish in wishes],
        expiries=[wish.expires_at for wish in wishes],
        at=at,
    )
    changed = [wish.hold_id for wish in wishes if not wish.new]
    if changed:
        await sql.clear_hold_lines(tx, hold_ids=changed)
        await sql.clear_kit_lines(tx, order_ids=changed)
    lines = [(wish.hold_id, line_no, line) for wish in wishes for line_no, line in enumerate(wish.lines, 1)]
    await sql.write_hold_lines(
        tx,
        hold_ids=[hold_id for hold_id, _, _ in lines],
        line_nos=[line_no for _, line_no, _ in lines],
        sku_ids=[line[1] for _, _, line in lines],
        quantities=[line[2] for _, _, line in lines],
    )
    await kit_ledger.freeze(tx, {(hold_id, line_no): line[3] for hold_id, line_no, line in lines})
    version = await tx.plans.active(tx)
    events, moves = [], []
    for wish, units, event_id in zip(wishes, granted, new_ids(at, len(wishes)), strict=True):
        payload = UnitsHeld(channel=wish.channel.code, cart=wish.cart, expires_at=wish.expires_at)
        events.append(Event(wish.hold_id, event_id, at, payload, version))
        for sku_id, location_id in sorted({*units, *wish.had}):
            delta = units.get((sku_id, location_id), 0) - wish.had.get((sku_id, location_id), 0)
            if delta:
                moves.append(
                    StockMove(
                        sku_id,
                        location_id,
                        event_id,
                        MoveKind.HELD if delta > 0 else MoveKind.LET_GO,
                        reserved_delta=delta,
                        order_id=wish.hold_id,
                        channel_id=wish.channel.channel_id,
                        expires_at=wish.expires_at,
                    )
                )
    await record(tx, events)
    if changed:
        await sql.extend_reservations(
            tx,
            sku_ids=[sku_id for wish in wishes for sku_id, _ in wish.had],
            hold_ids=[wish.hold_id for wish in wishes for _ in wish.had],
            location_ids=[location_id for wish in wishes for _, location_id in wish.had],
            expiries=[wish.expires_at for wish in wishes for _ in wish.had],
        )
    await ledger.post(tx, moves, at=at, keep=keep, guarded=not held)


async def _end(tx: Tx, hold_ids: Sequence[UUID], at: datetime, end: type[HoldReleased | HoldExpired]) -> None:
    """Holds that are locked and open let go of everything."""
    if not hold_ids:
        return
    units = await _reserved(tx, hold_ids)
    await sql.end_holds(tx, hold_ids=list(hold_ids), order_ids=[None] * len(hold_ids), at=at)
    version = await tx.plans.active(tx)
    events, moves = [], []
    for hold_id, event_id in zip(hold_ids, new_ids(at, len(hold_ids)), strict=True):
        freed = units.get(hold_id, {})
        events.append(Event(hold_id, event_id, at, end(sku_ids=sorted({sku_id for sku_id, _ in freed})), version))
        moves += let_go(hold_id, freed, event_id)
    await record(tx, events)
    await ledger.post(tx, moves, at=at)
