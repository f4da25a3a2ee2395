"""Read by Alembic: each revision is a transaction, on the connection that ``migrate`` holds."""

from __future__ import annotations

from alembic import context

from ordino.core.migrations import SCHEMA

context.configure(
    connection=context.config.attributes["connection"],
    version_table_schema=SCHEMA,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
