"""Jobs of the warehouse: release many orders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ordino.core.database import Tx
from ordino.core.jobs import JobKind, Nothing, Planned, Row, RowOutcome
from ordino.core.permissions import Permission
from ordino.core.reactions import registry
from ordino.orders import named
from ordino.orders.named import OrderNamed, OrdersNamed
from ordino.warehouse.model import Released, WorkRefusal, WorkRefused
from ordino.warehouse.release import release


class ReleaseOrders(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make the allocations of each order firm. What was released before stays as it is."""

    orders: OrdersNamed


async def _plan(tx: Tx, sent: ReleaseOrders, at: datetime) -> Planned:
    return Planned(parameters=Nothing(), rows=named.rows_of(sent.orders))


async def _release(tx: Tx, parameters: Nothing, rows: Sequence[Row], at: datetime) -> list[RowOutcome]:
    ids = await named.order_ids(tx, rows)
    done: dict[int, RowOutcome] = {}
    for number, outcome in zip(ids, await release(tx, list(ids.values()), at=at) if ids else (), strict=True):
        done[number] = _released(outcome)
    return named.outcomes_of(rows, ids, done, unknown=WorkRefusal.UNKNOWN)


def _released(outcome: Released | WorkRefused) -> RowOutcome:
    if isinstance(outcome, WorkRefused):
        return RowOutcome(code=outcome.reason, detail=outcome.detail)
    return RowOutcome(output=outcome)


registry.job(
    JobKind(
        name="release_orders",
        needs=frozenset({Permission.FULFILLMENT_WORK}),
        sentence="Make the allocations of many orders firm, and tell their locations what to do.",
        sent=ReleaseOrders,
        plan=_plan,
        row=OrderNamed,
        do=_release,
        may_be_delayed=True,
    )
)
