"""The KPIs as JSON."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from litestar import get
from litestar.di import NamedDependency
from litestar.params import Parameter
from msgspec import Struct

from ordino.core.database import Database
from ordino.core.errors import Fault, Invalid
from ordino.insights.kpis import kpis
from ordino.insights.model import Kpi

DAYS = 30


class Period(Struct, frozen=True):
    """The KPIs of a period: from ``since`` up to, not including, ``until``."""

    since: datetime
    until: datetime
    kpis: list[Kpi]


@get("/v1/kpis", summary="All KPIs over a period", tags=["insights"])
async def get_kpis(
    database: NamedDependency[Database],
    since: Annotated[datetime | None, Parameter(description="RFC 3339; 30 days before `until` if left out.")] = None,
    until: Annotated[datetime | None, Parameter(description="RFC 3339; now if left out.")] = None,
) -> Period:
    """Each KPI with its formula, its value and what it was counted from; one that cannot be measured says why."""
    for name, instant in (("since", since), ("until", until)):
        if instant is not None and instant.tzinfo is None:
            detail = f"`{name}` needs an offset, such as 2026-01-01T00:00:00Z."
            raise Invalid(detail, faults=[Fault(f"/{name}", detail)])
    upto = until or database.clock.now()
    start = since or upto - timedelta(days=DAYS)
    if start >= upto:
        detail = "`since` must be before `until`."
        raise Invalid(detail, faults=[Fault("/since", detail)])
    return Period(start, upto, await database.read(lambda tx: kpis(tx, since=start, until=upto)))


routes = [get_kpis]
