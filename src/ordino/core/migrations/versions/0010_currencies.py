"""Exchange rates, and the currencies of handling and shipping costs. Where none is said, costs are in the order's currency."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run("0010_currencies.sql")
