"""What people write about orders is kept in one place that can be erased; events and moves carry codes."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0019"
down_revision = "0013"


def upgrade() -> None:
    run("0019_notes.sql")
