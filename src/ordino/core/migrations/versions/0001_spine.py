"""The spine: every table from the catalog to the doorstep and back."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_spine.sql")
