"""A Feast repository over the benchmarks' Parquet files. Runs in Feast's environment (``feast_env``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, Float64


def view(name: str, path: Path, features: list[str], created: str | None = None) -> FeatureView:
    """A view of one file; features with odd numbers are float32, the others float64."""
    return FeatureView(
        name=name,
        entities=[Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)],
        ttl=timedelta(0),
        schema=[Field(name=each, dtype=Float32 if i % 2 else Float64) for i, each in enumerate(features)],
        source=FileSource(
            name=f"{name}_source",
            path=str(path),
            timestamp_field="event_timestamp",
            created_timestamp_column=created or "",
        ),
    )


@contextmanager
def opened(views: list[FeatureView], offline: str, redis: str | None = None) -> Iterator[FeatureStore]:
    """A Feast store of these views; ``offline`` is Feast's name of an offline store, ``redis`` is host:port."""
    online: dict[str, Any] | None = redis and {"type": "redis", "connection_string": redis}
    with TemporaryDirectory() as home:
        config = RepoConfig(
            project="bench",
            provider="local",
            registry=f"{home}/registry.db",
            offline_store={"type": offline},
            online_store=online,
            entity_key_serialization_version=3,
        )
        store = FeatureStore(config=config)
        store.apply([Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64), *views])
        yield store
