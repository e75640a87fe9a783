"""Experiments, runs with their parameters, metrics, tags and inputs, and logged models."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"


def upgrade() -> None:
    """Makes the tables."""
    _experiments()
    _runs()
    _metrics()
    _inputs()
    _logged_models()


def _number(name: str, kind: type[sa.Integer] = sa.Integer) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _key(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.String, primary_key=True)


def _columns(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.Integer, primary_key=True),
        *_columns(sa.String, "name"),
        *_columns(sa.Text, "artifact_location"),
        *_columns(sa.String, "lifecycle"),
        *_columns(sa.BigInteger, "created", "updated"),
    )
    op.create_index("experiments_by_name", "experiments", ["name"], unique=True)
    op.create_table("experiment_tags", _number("experiment"), _key("key"), *_columns(sa.Text, "value"))


def _runs() -> None:
    op.create_table(
        "tracked_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        *_columns(sa.String, "run_id"),
        *_columns(sa.Integer, "experiment"),
        *_columns(sa.Text, "name"),
        *_columns(sa.String, "user_id", "status"),
        *_columns(sa.BigInteger, "start_time"),
        sa.Column("end_time", sa.BigInteger),
        *_columns(sa.Text, "artifact_uri"),
        *_columns(sa.String, "lifecycle"),
    )
    op.create_index("tracked_runs_by_run_id", "tracked_runs", ["run_id"], unique=True)
    op.create_index("tracked_runs_by_start", "tracked_runs", ["experiment", "lifecycle", "start_time", "run_id"])
    for table in ("run_params", "run_tags"):
        op.create_table(table, _number("run"), _key("key"), *_columns(sa.Text, "value"), *_columns(sa.String, "head"))
        op.create_index(f"{table}_by_value", table, ["key", "head", "run"])


def _metrics() -> None:
    op.create_table(
        "run_metrics",
        sa.Column("id", sa.Integer, primary_key=True),
        *_columns(sa.Integer, "run"),
        *_columns(sa.String, "key"),
        sa.Column("value", sa.Double),
        *_columns(sa.BigInteger, "step", "timestamp"),
    )
    op.create_index("run_metrics_by_run", "run_metrics", ["run", "key"], unique=True)
    op.create_index("run_metrics_by_value", "run_metrics", ["key", "value", "run"])
    op.create_table(
        "metric_points",
        _number("metric"),
        _number("step", sa.BigInteger),
        _number("timestamp", sa.BigInteger),
        sa.Column("value", sa.Double, primary_key=True, autoincrement=False),
        sa.Column("is_nan", sa.Boolean, primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )


def _inputs() -> None:
    op.create_table(
        "tracked_datasets",
        sa.Column("id", sa.Integer, primary_key=True),
        *_columns(sa.Integer, "experiment"),
        *_columns(sa.String, "name", "digest", "source_type"),
        *_columns(sa.Text, "source", "schema", "profile"),
    )
    op.create_index("tracked_datasets_by_name", "tracked_datasets", ["experiment", "name", "digest"], unique=True)
    op.create_table(
        "run_datasets",
        _number("run"),
        _number("dataset"),
        *_columns(sa.String, "context"),
        *_columns(sa.Text, "tags"),
    )
    op.create_index("run_datasets_by_dataset", "run_datasets", ["dataset", "run"])
    op.create_table(
        "run_models",
        _number("run"),
        _key("model_id"),
        sa.Column("output", sa.Boolean, primary_key=True, autoincrement=False),
        *_columns(sa.BigInteger, "step"),
    )


def _logged_models() -> None:
    op.create_table(
        "logged_models",
        sa.Column("id", sa.Integer, primary_key=True),
        *_columns(sa.String, "model_id"),
        *_columns(sa.Integer, "experiment"),
        *_columns(sa.Text, "name", "artifact_uri"),
        *_columns(sa.String, "status", "model_type", "source_run_id"),
        *_columns(sa.BigInteger, "created", "updated"),
        *_columns(sa.String, "lifecycle"),
    )
    op.create_index("logged_models_by_model_id", "logged_models", ["model_id"], unique=True)
    op.create_index("logged_models_by_experiment", "logged_models", ["experiment", "lifecycle", "created"])
    for table in ("logged_model_tags", "logged_model_params"):
        op.create_table(table, _number("model"), _key("key"), *_columns(sa.Text, "value"))
    op.create_table(
        "logged_model_metrics",
        _number("model"),
        *(_key(name) for name in ("key", "dataset_name", "dataset_digest")),
        sa.Column("value", sa.Double),
        *_columns(sa.BigInteger, "step", "timestamp"),
        *_columns(sa.String, "run_id"),
    )
