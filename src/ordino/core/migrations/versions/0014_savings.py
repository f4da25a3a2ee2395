"""What reevaluations saved, by currency."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0014"
down_revision = "0011"


def upgrade() -> None:
    run("0014_savings.sql")
