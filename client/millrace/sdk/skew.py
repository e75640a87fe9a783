"""The skew check at the edge: rows from a store, their recomputation from the source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pyarrow as pa

from millrace.sdk import time_arguments
from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.offline import point_in_time, verify
from millrace_core.features.offline.verify import LaterRow, OfflineValues, VerifyReport
from millrace_core.features.online import keys, stored_value
from millrace_data.materialization.ledger import Ledger
from millrace_data.materialization.resources import EngineSettings
from millrace_data.online import sampling
from millrace_data.online.store import Store
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source, read_whole

# No feature can be called so.
_EVENT = "$row_event"
_CREATED = "$row_created"


def check(definition: Definition, store: Store, count: int, as_of: int | None, seed: int | None) -> VerifyReport:
    """Draws rows of a view and compares them with its source.

    Args:
        definition: of the view.
        store: that has the rows.
        count: how many rows to draw.
        as_of: the time to compare at; absent: the watermark, and of later rows their own.
        seed: of the draw.

    Raises:
        MillraceError: store or source do not answer, or hold what they must not.
    """
    if count < 1:
        raise RejectError(f"{count} rows cannot be compared", hint="Sample 1 or more", field="sample")
    random = Random(seed)  # noqa: S311 a sample keeps no secret
    # How far runs are is read first: one that ends meanwhile only makes rows newer.
    position = Ledger(store, definition).position()
    stored = sampling.sample(store, definition.project, definition.view, count, random)
    layouts = store.layouts(definition.project, definition.view)

    def recompute(names: Sequence[str], frame: EntityFrame) -> OfflineValues:
        return read_whole(lambda: _recomputed(definition, names, frame))

    now = time_arguments.now()
    report = verify.check(
        definition,
        stored,
        position.watermark,
        recompute,
        now=now,
        created=position.created,
        layouts=layouts,
        as_of=as_of,
    )
    for found in sampling.later(store, definition.project, definition.view, now + store.tolerance(definition)):
        report.later += 1
        if report.later <= verify.SHOWN:
            event = stored_value.newest_event_time(found.row)
            report.later_rows.append(LaterRow(keys.entity(definition, found.key), event or 0))
    return report


def _recomputed(definition: Definition, names: Sequence[str], frame: EntityFrame) -> OfflineValues:
    row_times = [Feature(_EVENT, "timestamp", definition.timestamp_field)]
    if definition.created_field is not None:
        row_times.append(Feature(_CREATED, "timestamp", definition.created_field))
    # The times of the row are read as if they were features of it.
    extended = replace(definition, features=(*definition.features, *row_times))
    source = open_source(extended, Credentials.load(os.environ))
    wanted = [extended.feature[name] for name in (*names, *(each.name for each in row_times))]
    with EngineSettings.load(os.environ).engine(definition.view) as engine:
        joined = point_in_time.join(extended, wanted, source, frame, engine=engine)
    found = dict(zip(wanted, map(_plain, joined), strict=True))
    values = {feature.name: column for feature, column in found.items()}
    created = values.get(_CREATED, [None] * len(frame.moments))
    return OfflineValues(values, values[_EVENT], created)


def _plain(column: pa.Array) -> list[Any]:
    """Python values as the row codec has them: times are microseconds."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        column = column.cast(pa.list_(pa.int64()))
    return list(column.to_pylist())
