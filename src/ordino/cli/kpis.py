"""``ordino kpis``: the KPIs of a period, and the orders that they count."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter
from rich.table import Column, Table

from ordino.cli.terminal import Json, instant, on_database, show
from ordino.core.database import Database
from ordino.core.errors import Invalid
from ordino.core.money import amount
from ordino.insights.model import CountedOrder, Kpi, Unit

kpis_app = App(name="kpis", help="The KPIs of a period, and the orders that they count.")
MOST = 10_000

Since = Annotated[str | None, Parameter(help="By default 30 days before --until.")]
Until = Annotated[str | None, Parameter(help="By default now. What is due after now is not counted yet.")]


def value_in_words(value: float, unit: Unit, key: str | None) -> str:
    """A KPI's value, or a part's, as people read it. ``key`` is the currency of money."""
    match unit:
        case Unit.PERCENT:
            return f"{value:.1f} %"
        case Unit.HOURS:
            return f"{value:.1f} hours"
        case Unit.MINOR:
            return amount(round(value), key or "")
        case Unit.PER_HOUR:
            return f"{value:,.1f} per hour"
        case Unit.COUNT:
            return f"{value:,.2f}"


@kpis_app.command(name="show")
def show_kpis(*, since: Since = None, until: Until = None, json: Json = False) -> None:
    """Every KPI of a period, with its formula."""
    from ordino.insights.api import period
    from ordino.insights.kpis import kpis

    async def read(database: Database) -> list[Kpi]:
        start, upto = period(database, instant(since), instant(until))
        passed = min(upto, database.clock.now())
        return await database.read(lambda tx: kpis(tx, since=start, until=passed))

    found = on_database(read)

    def table() -> Table:
        table = Table(
            Column("KPI", overflow="fold"), Column("value", overflow="fold"), Column("formula", overflow="fold")
        )
        for kpi in found:
            of = f" ({kpi.key})" if kpi.key and kpi.unit is not Unit.MINOR else ""
            said = (kpi.missing or "") if kpi.value is None else value_in_words(kpi.value, kpi.unit, kpi.key)
            table.add_row(kpi.name, said + of, kpi.formula)
        return table

    show(found, table, json=json)


@kpis_app.command
def orders(
    name: Annotated[str, Parameter(help="on_time_shipping_rate or perfect_order_rate.")],
    *,
    since: Since = None,
    until: Until = None,
    most: Annotated[int, Parameter(help="Up to so many orders, by id.")] = 1000,
    after: Annotated[UUID | None, Parameter(help="Those that follow the order with this id.")] = None,
    json: Json = False,
) -> None:
    """The orders that a KPI counts, and why some of them fall short."""
    from ordino.insights.api import NIL, period
    from ordino.insights.kpis import counted_orders

    if not 1 <= most <= MOST:
        raise Invalid(f"Ask for 1 to {MOST} orders at once.")

    async def read(database: Database) -> list[CountedOrder]:
        start, upto = period(database, instant(since), instant(until))
        passed = min(upto, database.clock.now())
        return await database.read(
            lambda tx: counted_orders(tx, name, since=start, until=passed, after=after or NIL, limit=most)
        )

    found = on_database(read)

    def table() -> Table:
        short = sum(bool(order.why) for order in found)
        table = Table(Column("order", min_width=36), "channel", "number", "why not", caption=f"{short} fall short")
        for order in found:
            table.add_row(str(order.order_id), order.channel, order.external_id, ", ".join(order.why))
        return table

    show(found, table, json=json)
