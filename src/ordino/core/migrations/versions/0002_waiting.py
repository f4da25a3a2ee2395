"""Units that wait: the first claim of orders to what becomes free."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run("0002_waiting.sql")
