"""A database full of orders with honest ledgers, made by the database itself: see ``synthetic.sql``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from asyncpg import Connection

from ordino.core.statements import Statements

sql = Statements(files("ordino.cli.bench").joinpath("synthetic.sql").read_text(encoding="utf-8"))


async def fill(connection: Connection[Any], *, orders: int, skus: int = 10_000) -> None:
    """Fill an empty, migrated database. A million orders take some minutes and 7 GB."""
    values = {"orders": orders, "skus": skus}
    for statement in sql:
        await statement(connection, **{name: values[name] for name in statement.parameters})
