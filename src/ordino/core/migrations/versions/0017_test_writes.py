"""Where readiness is tested by writing."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0017"
down_revision = "0013"


def upgrade() -> None:
    run("0017_test_writes.sql")
