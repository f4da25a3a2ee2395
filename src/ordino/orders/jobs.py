"""Jobs about orders: cancel many, import and export them, and replay a routing profile on any span of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ordino.core.codes import Code, ReasonCode
from ordino.core.database import Database, Tx
from ordino.core.errors import Invalid
from ordino.core.jobs import JobKind, Line, NewRow, Nothing, Planned, Row, RowOutcome, Step
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.core.statements import statements
from ordino.network.facts import facts
from ordino.orders import named
from ordino.orders.cancel import Cancellation, Cancelled, CancelRefusal, CancelRefused, cancel
from ordino.orders.model import NewOrder, OrderRefused, Placed
from ordino.orders.named import OrderNamed, OrdersNamed
from ordino.orders.place import place
from ordino.orders.read import OrderHead
from ordino.orders.replay import NIL, Progress, Span, advance, check_span, count
from ordino.sourcing.versions import profile as profile_view

sql = statements("ordino.orders")
PAGE = 500
Instant = Annotated[datetime, Meta(tz=True)]
_encode = msgspec.json.Encoder().encode
OrderStatus = Literal[
    "allocated", "backordered", "partially_backordered", "in_fulfillment", "partially_shipped", "shipped", "delivered",
    "returned", "cancelled",
]  # fmt: skip


# -- cancel ----------------------------------------------------------------------------------------------------------------


class CancelOrders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cancel all that can still be cancelled of each order. ``reason`` is a code, which events and moves carry."""

    orders: OrdersNamed
    reason: ReasonCode = "customer_request"


class CancelReason(Struct, frozen=True, kw_only=True):
    """Why the orders are cancelled."""

    reason: str


async def _plan_cancel(tx: Tx, sent: CancelOrders, at: datetime) -> Planned:
    return Planned(parameters=CancelReason(reason=sent.reason), rows=named.rows_of(sent.orders))


async def _cancel(tx: Tx, parameters: CancelReason, rows: Sequence[Row], at: datetime) -> list[RowOutcome]:
    ids = await named.order_ids(tx, rows)
    wishes = [Cancellation(order_id=order_id, all=True, reason=parameters.reason) for order_id in ids.values()]
    done: dict[int, RowOutcome] = {}
    for number, outcome in zip(ids, await cancel(tx, wishes, at=at) if wishes else (), strict=True):
        done[number] = _cancelled(outcome)
    return named.outcomes_of(rows, ids, done, unknown=CancelRefusal.UNKNOWN_ORDER)


def _cancelled(outcome: Cancelled | CancelRefused) -> RowOutcome:
    if isinstance(outcome, CancelRefused):
        return RowOutcome(code=outcome.reason, detail=outcome.detail)
    return RowOutcome(output=outcome)


registry.job(
    JobKind(
        name="cancel_orders",
        needs=frozenset({Permission.ORDERS_WRITE}),
        sentence="Cancel all that can still be cancelled of many orders.",
        sent=CancelOrders,
        parameters=CancelReason,
        plan=_plan_cancel,
        row=OrderNamed,
        do=_cancel,
        may_be_delayed=True,
    )
)


# -- import ----------------------------------------------------------------------------------------------------------------


class ImportOrders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Place many orders. One that its channel has sent before is answered, and not placed again."""

    orders: Annotated[list[NewOrder], Meta(min_length=1, max_length=5000)]


TOKENS_ARE_NOT_KEPT = (
    "Place an order that has a payment token by itself: a job keeps its rows until they are done, and tokens nowhere."
)


def _order_row(number: int, order: NewOrder) -> NewRow:
    subject = f"{order.channel} {order.external_id}"
    for index, payment in enumerate(order.payments or ()):
        if payment.token is not None:
            pointer = f"/payments/{index}/token"
            return NewRow(
                row_no=number,
                subject=subject,
                refused=RowOutcome(code="invalid", detail=TOKENS_ARE_NOT_KEPT, pointer=pointer),
            )
    return NewRow(row_no=number, subject=subject, input=_encode(order).decode())


async def _plan_import(tx: Tx, sent: ImportOrders, at: datetime) -> Planned:
    return Planned(
        parameters=Nothing(), rows=[_order_row(number, order) for number, order in enumerate(sent.orders, 1)]
    )


async def _import(tx: Tx, parameters: Nothing, rows: Sequence[Row], at: datetime) -> list[RowOutcome]:
    return [_placed(outcome) for outcome in await place(tx, [row.input for row in rows], at=at)]


def _placed(outcome: Placed | OrderRefused) -> RowOutcome:
    if isinstance(outcome, OrderRefused):
        return RowOutcome(code=outcome.reason, detail=outcome.detail, pointer=outcome.pointer)
    return RowOutcome(output=outcome)


registry.job(
    JobKind(
        name="import_orders",
        needs=frozenset({Permission.ORDERS_WRITE}),
        sentence="Place many orders, from a list or from lines of NDJSON.",
        sent=ImportOrders,
        plan=_plan_import,
        row=NewOrder,
        do=_import,
        uploaded=_order_row,
        set_size=100,
    )
)


# -- export ----------------------------------------------------------------------------------------------------------------


class ExportOrders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The orders placed from ``since`` until before ``until``, of one channel or in one status where that is said."""

    since: Instant
    until: Instant
    channel: Code | None = None
    status: OrderStatus | None = None


class ExportCursor(Struct, frozen=True, kw_only=True):
    """The last order that was exported, and how many there are in all."""

    after_at: datetime
    after_id: UUID
    total: int


class ExportedLine(Struct, frozen=True, kw_only=True):
    """A line of an exported order: how many of its units are in which state."""

    line_no: int
    sku: str
    ordered: int
    unit_price_minor: int
    amount_minor: int
    backordered: int
    allocated: int
    picked: int
    packed: int
    shipped: int
    delivered: int
    returned: int
    cancelled: int


async def _plan_export(tx: Tx, sent: ExportOrders, at: datetime) -> Planned:
    if sent.until <= sent.since:
        raise Invalid("`until` must be later than `since`.")
    if sent.channel is not None and sent.channel not in (await facts(tx)).channels:
        raise Invalid(f"There is no channel {sent.channel!r}.")
    return Planned(parameters=sent)


async def _export(database: Database, wanted: ExportOrders, cursor: ExportCursor | None, at: datetime) -> Step:
    """A page of orders, each a line. Names, addresses and other personal data are not exported."""

    async def page(tx: Tx) -> Step:
        channels = (await facts(tx)).channels
        ids = [one.channel_id for code, one in channels.items() if wanted.channel in (None, code)]
        after_at, after_id = (wanted.since, NIL) if cursor is None else (cursor.after_at, cursor.after_id)
        if cursor is not None:
            total = cursor.total
        else:
            total = (
                await sql.count_exported(
                    tx, since=wanted.since, until=wanted.until, channel_ids=ids, status=wanted.status
                )
            )[0]["orders"]
        heads = await sql.export_orders(
            tx,
            after_at=after_at,
            after_id=after_id,
            until=wanted.until,
            channel_ids=ids,
            status=wanted.status,
            limit=PAGE,
        )
        lines: dict[UUID, list[ExportedLine]] = defaultdict(list)
        for row in await sql.export_lines(tx, order_ids=[head["order_id"] for head in heads]) if heads else ():
            lines[row["order_id"]].append(ExportedLine(**{name: row[name] for name in ExportedLine.__struct_fields__}))
        return Step(
            done=len(heads),
            total=total,
            cursor=ExportCursor(after_at=heads[-1]["placed_at"], after_id=heads[-1]["order_id"], total=total)
            if heads
            else cursor,
            lines=[_exported(OrderHead(**head), lines[head["order_id"]]) for head in heads],
            finished=len(heads) < PAGE,
        )

    return await database.read(page)


def _exported(head: OrderHead, lines: list[ExportedLine]) -> Line:
    output: dict[str, Any] = {**msgspec.structs.asdict(head), "lines": lines}
    return Line(subject=str(head.order_id), output=output)


registry.job(
    JobKind(
        name="export_orders",
        needs=frozenset({Permission.ORDERS_READ, Permission.CUSTOMERS_READ}),
        shows=frozenset({Permission.ORDERS_READ}),
        sentence="Write orders with their lines, without personal data, to a file of NDJSON.",
        sent=ExportOrders,
        parameters=ExportOrders,
        plan=_plan_export,
        cursor=ExportCursor,
        step=_export,
        writes_file=True,
    )
)


# -- replay ----------------------------------------------------------------------------------------------------------------


class ReplayProfile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A candidate: a document, or a version that is kept; and the orders placed from ``since`` until before ``until``."""

    since: Instant
    until: Instant
    document: Annotated[str, Meta(max_length=50_000)] | None = None
    profile_version: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    channel: Code | None = None


class ReplayCursor(Struct, frozen=True, kw_only=True):
    """How far the replay has come, of so many orders."""

    progress: Progress
    total: int


async def _plan_replay(tx: Tx, sent: ReplayProfile, at: datetime) -> Planned:
    document = await document_of(tx, sent.document, sent.profile_version)
    span = Span(document=document, since=sent.since, until=sent.until, channel=sent.channel)
    await check_span(tx, span)
    return Planned(parameters=span)


async def document_of(tx: Tx, document: str | None, version: int | None) -> str:
    """The candidate's document. Raises ``Invalid`` unless it is named in one way, and ``NotFound``."""
    if (document is None) == (version is None):
        raise Invalid("Name a candidate by `document` or by `profile_version`, one of the two.")
    return document if document is not None else (await profile_view(tx, version or 0)).document


async def _replay(database: Database, span: Span, cursor: ReplayCursor | None, at: datetime) -> Step:
    total = cursor.total if cursor is not None else await database.read(lambda tx: count(tx, span))
    before = cursor.progress if cursor is not None else None
    progress, report = await advance(database, span, before)
    return Step(
        done=progress.seen - (before.seen if before is not None else 0),
        total=total if report is None else progress.seen,
        cursor=ReplayCursor(progress=progress, total=total),
        finished=report is not None,
        result=report,
    )


registry.job(
    JobKind(
        name="replay_profile",
        needs=frozenset({Permission.SOURCING_RUN}),
        shows=frozenset({Permission.POLICIES_READ}),
        sentence="Try a routing profile on past orders, against the stock as it then was.",
        sent=ReplayProfile,
        parameters=Span,
        plan=_plan_replay,
        cursor=ReplayCursor,
        step=_replay,
        at_once=1,
    )
)
