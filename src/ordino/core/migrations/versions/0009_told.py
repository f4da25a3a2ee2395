"""What buyers were told first and last beside the plan, ship-by times of orders, and the cut-off that orders the work queue."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run("0009_told.sql")
