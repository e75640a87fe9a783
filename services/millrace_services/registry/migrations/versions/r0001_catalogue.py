"""The catalogue, run records and datasets.

A database from before there were revisions has these tables, and a ``schema_version``, which goes: a program of that
time then refuses what it no longer understands.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from millrace_core.base.errors import RejectError

revision: Final = "0001"
down_revision: Final = None

_UNNUMBERED: Final = "3"


def upgrade() -> None:
    """Makes the tables where there are none.

    Raises:
        RejectError: there are tables of another version.
    """
    connection = op.get_bind()
    if sa.inspect(connection).has_table("meta"):
        found = connection.scalar(sa.text("SELECT value FROM meta WHERE key = 'schema_version'"))
        if found != _UNNUMBERED:
            raise RejectError(
                f"the database has tables of schema version {found}, which no release of Millrace has",
                hint="Give a new database: the operator fills it again",
                field="MILLRACE_DATABASE_URL",
                reason="DatabaseVersion",
            )
        op.execute("DELETE FROM meta WHERE key = 'schema_version'")
        return
    _catalogue()
    _records()


def _catalogue() -> None:
    op.create_table(
        "meta", sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String, nullable=False)
    )
    op.create_table(
        "objects",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "terms",
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("field", sa.String, primary_key=True),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_index("terms_by_key", "terms", ["field", "key", "value"])
    op.create_table(
        "schemas",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("recorded", sa.BigInteger, nullable=False),
    )


def _records() -> None:
    op.create_table(
        "runs",
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("view", sa.String, nullable=False),
        sa.Column("recorded", sa.BigInteger, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("runs_by_view", "runs", ["kind", "namespace", "view", "recorded"])
    op.create_index("runs_by_time", "runs", ["recorded"])
    op.create_table(
        "datasets",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("recorded", sa.BigInteger, nullable=False),
    )
    op.create_index("datasets_by_time", "datasets", ["recorded"])
    op.create_table(
        "dataset_views",
        sa.Column("dataset", sa.String, primary_key=True),
        sa.Column("namespace", sa.String, primary_key=True),
        sa.Column("view", sa.String, primary_key=True),
    )
    op.create_index("dataset_views_by_view", "dataset_views", ["namespace", "view"])
