"""A database full of orders with honest ledgers, made by the database itself (``synthetic.sql``), and how fast it is proven."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import asyncpg
from asyncpg import Connection

from ordino.cli.bench import world
from ordino.cli.bench.figure import Figure, make
from ordino.cli.bench.scale import Bench
from ordino.cli.verify import CONNECTIONS, verify
from ordino.core.statements import Statements

sql = Statements(files("ordino.cli.bench").joinpath("synthetic.sql").read_text(encoding="utf-8"))


async def fill(connection: Connection[Any], *, orders: int, skus: int = 10_000) -> None:
    """Fill an empty, migrated database. A million orders take some minutes and 7 GB."""
    values = {"orders": orders, "skus": skus}
    for statement in sql:
        await statement(connection, **{name: values[name] for name in statement.parameters})
    await connection.execute("VACUUM ANALYZE")


async def measure(bench: Bench) -> list[Figure]:
    """``ordino verify`` over a million orders of two lines, most of them delivered. It has no floor: it is one itself."""
    orders = bench.scale.verify_orders
    connection = await asyncpg.connect(bench.url)
    try:
        await fill(connection, orders=orders, skus=bench.scale.skus)
        reports = [await verify(bench.database) for _ in range(bench.scale.windows)]
        conditions = await world.conditions(connection)
    finally:
        await connection.close()
    if not all(report.clean for report in reports):
        raise RuntimeError(f"honest ledgers were doubted: {[finding.name for finding in reports[0].broken]}")
    seconds = [round(report.seconds, 1) for report in reports]
    conditions |= {"orders": orders, "seconds": seconds, "connections": CONNECTIONS}
    return [make("verify", [orders / report.seconds for report in reports], "orders/s", [], conditions)]
