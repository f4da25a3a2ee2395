"""Events are recorded in sets, which get positions in a log; subscriptions follow it."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    run("0019_log.sql")
