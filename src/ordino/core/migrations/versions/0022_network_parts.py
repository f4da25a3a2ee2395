"""Parts of the network are read again by themselves; what shadow profiles are to judge is kept until they have."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    run("0022_network_parts.sql")
