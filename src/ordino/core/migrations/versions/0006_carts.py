"""A cart has one open hold, and what is no longer sold is not offered."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_carts.sql")
