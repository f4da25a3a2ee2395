"""What the lines are worth that placement dropped."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run("0011_dropped.sql")
