"""Every unit has a state in money beside its state of demand; refunds without goods; a payment of nothing is not pending."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_money.sql")
