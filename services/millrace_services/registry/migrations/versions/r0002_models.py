"""Registered models, their versions and aliases, and who changed which."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"


def upgrade() -> None:
    """Makes the tables."""
    _models()
    _versions()
    _changes()


def _models() -> None:
    op.create_table(
        "registered_models",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("deployment_job_id", sa.String, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
    )
    op.create_index("registered_models_by_name", "registered_models", ["name"], unique=True)
    op.create_table(
        "registered_model_tags",
        sa.Column("model", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "registered_model_aliases",
        sa.Column("model", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
    )


def _versions() -> None:
    op.create_table(
        "model_versions",
        sa.Column("model", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("run_id", sa.String, nullable=False),
        sa.Column("run_link", sa.Text, nullable=False),
        sa.Column("model_id", sa.String, nullable=False),
        sa.Column("request", sa.String, nullable=False),
        sa.Column("idempotency_key", sa.String, nullable=False),
    )
    op.create_index("model_versions_by_update", "model_versions", ["updated"])
    op.create_index("model_versions_by_run", "model_versions", ["run_id"])
    op.create_table(
        "model_version_tags",
        sa.Column("model", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )


def _changes() -> None:
    op.create_table(
        "model_changes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("before", sa.String, nullable=False),
        sa.Column("after", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("client", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("model_changes_by_name", "model_changes", ["name", "id"])
