"""API keys have permissions, may be narrowed to sellers and locations, may expire, and tell when they were last used."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    run("0023_keys.sql")
