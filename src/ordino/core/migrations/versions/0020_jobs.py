"""Recurring work says when it is due and how it went; jobs that people start are kept with their rows."""

from __future__ import annotations

from ordino.core.migrations.upgrade import run

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    run("0020_jobs.sql")
