"""No instant or date that a caller sent is infinite, and none lies where nobody can calculate with it."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0018"
down_revision = "0013"


def upgrade() -> None:
    run("0018_calendar.sql")
