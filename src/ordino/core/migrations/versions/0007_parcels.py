"""Who has a tracking number, what carriers say of unknown ones, and parcels that come back to the sender."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run("0007_parcels.sql")
