"""Run by Alembic: applies revisions over the connection that it is given, in the transaction that this has."""

from __future__ import annotations

from alembic import context

from millrace_services.registry.migrations import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
