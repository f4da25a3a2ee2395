"""A cart has one open hold, and what is no longer sold is not offered."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_carts.sql")
