"""What a change of each field of a FeatureView's spec does to those who read its values. One line per field.

``FREE`` is what no value's meaning hangs on: how often and when rows come (schedule, lag, parallelism), whether they
are good enough to be written (quality), how old they may be (``ttl``: a value that is shown for longer still means the
same, and lengthening it is what keeps models alive while a source is late), how the same rows are reached (host,
credentials), which state of one table is read (version, snapshot: new rows, as any), and words about the view.
Everything else is one of the others. A field that is in no line fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final


class Effect(Enum):
    """What a change of a field does."""

    FREE = "no value means anything else"
    KEYS = "rows belong to other entities"
    ROWS = "every value may be another one"
    FEATURE = "the features that are made from it mean something else"
    SERVED = "nothing is served any more, where it becomes false"


# Dotted paths of leaves; [] is every item of a list. A free one also stands for all that is below it.
FIELDS: Final[Mapping[str, Effect]] = {
    "description": Effect.FREE,
    "owner": Effect.FREE,
    "tags": Effect.FREE,
    "entities[].name": Effect.KEYS,
    "entities[].type": Effect.KEYS,
    "source.parquet.uri": Effect.ROWS,
    "source.delta.uri": Effect.ROWS,
    "source.delta.version": Effect.FREE,
    "source.iceberg.catalog.name": Effect.ROWS,
    "source.iceberg.catalog.type": Effect.FREE,
    "source.iceberg.catalog.uri": Effect.FREE,
    "source.iceberg.catalog.warehouse": Effect.ROWS,
    "source.iceberg.table": Effect.ROWS,
    "source.iceberg.snapshotId": Effect.FREE,
    "source.postgres.host": Effect.FREE,
    "source.postgres.port": Effect.FREE,
    "source.postgres.database": Effect.ROWS,
    "source.postgres.sslMode": Effect.FREE,
    "source.postgres.table": Effect.ROWS,
    "source.postgres.query": Effect.ROWS,
    "source.sql.table": Effect.ROWS,
    "source.sql.query": Effect.ROWS,
    "source.push.uri": Effect.ROWS,
    "source.timestampField": Effect.ROWS,
    "source.createdTimestampField": Effect.ROWS,
    "source.timestampUnit": Effect.ROWS,
    "source.createdTimestampUnit": Effect.ROWS,
    # Of keys, times and the filter; what features are made from is part of what they mean.
    "source.columns[].name": Effect.ROWS,
    "source.columns[].expression": Effect.ROWS,
    "source.where": Effect.ROWS,
    "source.credentialsSecretRef.name": Effect.FREE,
    "features[].name": Effect.FEATURE,
    "features[].type": Effect.FEATURE,
    "features[].column": Effect.FEATURE,
    "features[].aggregate.function": Effect.FEATURE,
    "features[].aggregate.column": Effect.FEATURE,
    "features[].aggregate.window": Effect.FEATURE,
    "features[].aggregate.quantile": Effect.FEATURE,
    "features[].expression": Effect.FEATURE,
    "requestFields[].name": Effect.FEATURE,
    "requestFields[].type": Effect.FEATURE,
    "aggregation.every": Effect.FEATURE,
    "aggregation.partials.uri": Effect.FREE,
    "ttl": Effect.FREE,
    "online.enabled": Effect.SERVED,
    "materialization.schedule": Effect.FREE,
    "materialization.lag": Effect.FREE,
    "materialization.lateness": Effect.FREE,
    "materialization.startFrom": Effect.FREE,
    "materialization.parallelism": Effect.FREE,
    "materialization.resources": Effect.FREE,
    "materialization.suspend": Effect.FREE,
    "quality": Effect.FREE,
}

_ROWS: Final = tuple(path for path, effect in FIELDS.items() if effect is Effect.ROWS)


def changed_rows(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The fields that decide every row and differ, such as ``source.where``, in the order of ``FIELDS``."""
    return [path for path in _ROWS if list(_values(before, path)) != list(_values(after, path))]


def _values(document: Any, path: str) -> Iterator[Any]:
    step, _, rest = path.partition(".")
    found = document.get(step.removesuffix("[]")) if isinstance(document, Mapping) else None
    for each in found or () if step.endswith("[]") else (found,):
        if rest:
            yield from _values(each, rest)
        else:
            yield each
