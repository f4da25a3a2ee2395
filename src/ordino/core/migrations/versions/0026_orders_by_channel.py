"""The orders of a channel, and so of a seller, are listed by an index of their own."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    run("0026_orders_by_channel.sql")
