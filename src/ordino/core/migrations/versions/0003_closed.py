"""Closed locations: units that are kept there, and exceptions of lines that nothing can serve and of work that lies there."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_closed.sql")
