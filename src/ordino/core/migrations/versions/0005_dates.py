"""How many days before its date a lot is no longer sold, expired units as a reason of a short pick, and scrapped serial numbers."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_dates.sql")
