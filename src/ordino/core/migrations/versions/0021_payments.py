"""Orders say how they are paid, and channels say who moves the money of orders that do not."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    run("0021_payments.sql")
