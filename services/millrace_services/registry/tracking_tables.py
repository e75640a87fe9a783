"""The tables of experiments, runs and logged models. Moments are milliseconds since 1970, UTC, as MLflow's are.

Rows of a run name it by its number, not by its id of 32 characters. ``head`` is what an index can hold of a value.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, String, Table, Text

from millrace_services.registry.tables import metadata

# Characters of a value that `head` has.
HEAD: Final = 64

experiments = Table(
    "experiments",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("artifact_location", Text, nullable=False),
    Column("lifecycle", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Index("experiments_by_name", "name", unique=True),
)

experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("experiment", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

tracked_runs = Table(
    "tracked_runs",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", String, nullable=False),
    Column("experiment", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("user_id", String, nullable=False),
    Column("status", String, nullable=False),
    Column("start_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("artifact_uri", Text, nullable=False),
    Column("lifecycle", String, nullable=False),
    Index("tracked_runs_by_run_id", "run_id", unique=True),
    Index("tracked_runs_by_start", "experiment", "lifecycle", "start_time", "run_id"),
)

run_params = Table(
    "run_params",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("head", String, nullable=False),
    Index("run_params_by_value", "key", "head", "run"),
)

run_tags = Table(
    "run_tags",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
    Column("head", String, nullable=False),
    Index("run_tags_by_value", "key", "head", "run"),
)

# The last point of each metric of each run, which is what answers and searches look at. NULL stands for NaN, so that
# no comparison finds it.
run_metrics = Table(
    "run_metrics",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("key", String, nullable=False),
    Column("value", Double),
    Column("step", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Index("run_metrics_by_run", "run", "key", unique=True),
    Index("run_metrics_by_value", "key", "value", "run"),
)

# Every point of a metric of a run, `metric` its number in run_metrics: the same point twice is one. A NaN has the value
# 0, since a key holds neither NULL nor, everywhere, NaN.
metric_points = Table(
    "metric_points",
    metadata,
    Column("metric", Integer, primary_key=True, autoincrement=False),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("timestamp", BigInteger, primary_key=True, autoincrement=False),
    Column("value", Double, primary_key=True, autoincrement=False),
    Column("is_nan", Boolean, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)

# Datasets that runs read, as their clients describe them.
tracked_datasets = Table(
    "tracked_datasets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("experiment", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("source_type", String, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Index("tracked_datasets_by_name", "experiment", "name", "digest", unique=True),
)

# `tags` is a JSON object, `context` its mlflow.data.context.
run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("dataset", Integer, primary_key=True, autoincrement=False),
    Column("context", String, nullable=False),
    Column("tags", Text, nullable=False),
    Index("run_datasets_by_dataset", "dataset", "run"),
)

# Logged models that a run read (`output` false) and made.
run_models = Table(
    "run_models",
    metadata,
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("model_id", String, primary_key=True),
    Column("output", Boolean, primary_key=True, autoincrement=False),
    Column("step", BigInteger, nullable=False),
)

logged_models = Table(
    "logged_models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", String, nullable=False),
    Column("experiment", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("artifact_uri", Text, nullable=False),
    Column("status", String, nullable=False),
    Column("model_type", String, nullable=False),
    Column("source_run_id", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("lifecycle", String, nullable=False),
    Index("logged_models_by_model_id", "model_id", unique=True),
    Index("logged_models_by_experiment", "experiment", "lifecycle", "created"),
)

logged_model_tags = Table(
    "logged_model_tags",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

logged_model_params = Table(
    "logged_model_params",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

# The last value of each metric that was logged with a model, on each dataset; NULL as above.
logged_model_metrics = Table(
    "logged_model_metrics",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("dataset_name", String, primary_key=True),
    Column("dataset_digest", String, primary_key=True),
    Column("value", Double),
    Column("step", BigInteger, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("run_id", String, nullable=False),
)
