"""Returns to several locations, of single components of kits, and with cancelled units."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run("0008_returns.sql")
