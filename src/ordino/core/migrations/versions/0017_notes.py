"""What people write about orders is kept in one place that can be erased; events and moves carry codes."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    run("0017_notes.sql")
