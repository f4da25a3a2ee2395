"""Where readiness is tested by writing."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run("0015_test_writes.sql")
