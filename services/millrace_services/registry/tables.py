"""The tables of the catalogue, of run records and of datasets; a change is a file in ``migrations/versions``, too."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Text

metadata = MetaData()

# Facts about the catalogue: its id and revision, and of each kind whether a whole list has come.
meta = Table("meta", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

# The mirrored objects; `document` is the Kubernetes object as JSON, `text` what free-text search looks at.
objects = Table(
    "objects",
    metadata,
    Column("kind", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("document", Text, nullable=False),
)

# What an object can be found by beside its own columns: tags, entities, features.
terms = Table(
    "terms",
    metadata,
    Column("kind", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("field", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("terms_by_key", "field", "key", "value"),
)

# Every schema that a view ever had, so that old rows can be read; never deleted with the view, whose rows may outlive
# it.
schemas = Table(
    "schemas",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("hash", String, primary_key=True),
    Column("document", Text, nullable=False),
    Column("recorded", BigInteger, nullable=False),
)

# Run records; `recorded` (microseconds since 1970, UTC) orders them.
runs = Table(
    "runs",
    metadata,
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("view", String, nullable=False),
    Column("recorded", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
    Index("runs_by_view", "kind", "namespace", "view", "recorded"),
    Index("runs_by_time", "recorded"),
)

# Saved training sets: `document` is the manifest of one, and where it lies.
datasets = Table(
    "datasets",
    metadata,
    Column("id", String, primary_key=True),
    Column("document", Text, nullable=False),
    Column("recorded", BigInteger, nullable=False),
    Index("datasets_by_time", "recorded"),
)

# The views that a dataset was made of.
dataset_views = Table(
    "dataset_views",
    metadata,
    Column("dataset", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("view", String, primary_key=True),
    Index("dataset_views_by_view", "namespace", "view"),
)
