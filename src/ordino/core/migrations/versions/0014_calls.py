"""Leases by the clock of the machine, paused accounts, and which effects workers take."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run("0014_calls.sql")
