"""The KPIs as JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, Parameter, QueryParameter
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.errors import Fault, Invalid
from ordino.core.permissions import Permission
from ordino.core.times import NEEDS_OFFSET
from ordino.insights.kpis import counted_orders, kpis
from ordino.insights.model import CountedOrder, Kpi
from ordino.web.operations import NOT_FOUND, Operation
from ordino.web.routes import get

DAYS = 30
NIL = UUID(int=0)
Since = Annotated[datetime | None, Parameter(description="RFC 3339; 30 days before `until` if left out.")]
Until = Annotated[datetime | None, Parameter(description="RFC 3339; now if left out.")]


class Period(Struct, frozen=True):
    """The KPIs of a period: from ``since`` up to, not including, ``until``."""

    since: datetime
    until: datetime
    kpis: list[Kpi]


class CountedOrders(Struct, frozen=True):
    """The orders that a KPI counts, by id; ``next`` is the ``after`` of the page that follows, if there may be one."""

    orders: list[CountedOrder]
    next: UUID | None


def period(database: Database, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    """From when and up to when: 30 days up to now, where neither is said. Raises ``Invalid``."""
    for name, instant in (("since", since), ("until", until)):
        if instant is not None and instant.tzinfo is None:
            raise Invalid(NEEDS_OFFSET, faults=[Fault(f"/{name}", NEEDS_OFFSET)])
    upto = until or database.clock.now()
    start = since or upto - timedelta(days=DAYS)
    if start >= upto:
        detail = "`since` must be before `until`."
        raise Invalid(detail, faults=[Fault("/since", detail)])
    return start, upto


@get(
    "/v1/kpis",
    operation=Operation(name="kpis.list", permission=Permission.INSIGHTS_READ),
    summary="All KPIs over a period",
    tags=["insights"],
)
async def get_kpis(database: NamedDependency[Database], since: Since = None, until: Until = None) -> Period:
    """Each KPI with its formula, its value and what it was counted from; one that cannot be measured says why. What is due after
    now is not counted yet.
    """
    start, upto = period(database, since, until)
    passed = min(upto, database.clock.now())
    return Period(start, upto, await database.read(lambda tx: kpis(tx, since=start, until=passed)))


@get(
    "/v1/kpis/{name:str}/orders",
    operation=Operation(name="kpis.orders", permission=Permission.INSIGHTS_READ, refusals=NOT_FOUND),
    summary="The orders that a KPI counts",
    tags=["insights"],
)
async def get_kpi_orders(
    database: NamedDependency[Database],
    name: FromPath[str],
    since: Since = None,
    until: Until = None,
    after: Annotated[UUID | None, QueryParameter(description="The `next` of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=10_000)] = 1000,
) -> CountedOrders:
    """Of `on_time_shipping_rate` and `perfect_order_rate`: every order that is counted over the period, and the reasons why it is
    not on time, or not perfect.
    """
    start, upto = period(database, since, until)
    passed = min(upto, database.clock.now())
    orders = await database.read(
        lambda tx: counted_orders(tx, name, since=start, until=passed, after=after or NIL, limit=limit)
    )
    return CountedOrders(orders, orders[-1].order_id if len(orders) == limit else None)


routes = [get_kpis, get_kpi_orders]
