"""No instant or date that a caller sent is infinite, and none lies where nobody can calculate with it."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run("0016_calendar.sql")
