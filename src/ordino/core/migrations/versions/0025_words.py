"""What people write leaves the events of shortfalls and closures; jobs know the key that has started them."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0025"
down_revision = "0023"


def upgrade() -> None:
    run("0025_words.sql")
