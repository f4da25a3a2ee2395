"""Reactions are due by the business's clock, and wait and are leased by the database's; failures carry codes."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    run("0018_two_clocks.sql")
