"""How many parts of kits are back that are not back whole."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run("0012_parts.sql")
