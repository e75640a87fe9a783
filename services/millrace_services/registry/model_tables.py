"""The tables of registered models. Moments are milliseconds since 1970, UTC, as MLflow's are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, Text

from millrace_services.registry.tables import metadata

# `last_version` is the highest number that a version ever had: none is given twice.
registered_models = Table(
    "registered_models",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("deployment_job_id", String, nullable=False),
    Column("last_version", Integer, nullable=False),
    Index("registered_models_by_name", "name", unique=True),
)

registered_model_tags = Table(
    "registered_model_tags",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

registered_model_aliases = Table(
    "registered_model_aliases",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("alias", String, primary_key=True),
    Column("version", Integer, nullable=False),
)

# `source` is what was given, `location` where the files are, which a source of the form models:/… only leads to.
# `request` is the digest of what was asked for, by which a request that is sent again is known.
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("stage", String, nullable=False),
    Column("description", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("run_id", String, nullable=False),
    Column("run_link", Text, nullable=False),
    Column("model_id", String, nullable=False),
    Column("request", String, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Index("model_versions_by_update", "updated"),
    Index("model_versions_by_run", "run_id"),
)

model_version_tags = Table(
    "model_version_tags",
    metadata,
    Column("model", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("key", String, primary_key=True),
    Column("value", Text, nullable=False),
)

# Every move of an alias and of a stage, in its order; kept when the model goes. `kind` is alias or stage, `subject` the
# alias or the version, `before` and `after` the version or the stage, empty for none.
model_changes = Table(
    "model_changes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("client", String, nullable=False),
    Column("reason", Text, nullable=False),
    Index("model_changes_by_name", "name", "id"),
)
