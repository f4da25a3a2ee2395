"""What reevaluations saved, by currency."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run("0013_savings.sql")
