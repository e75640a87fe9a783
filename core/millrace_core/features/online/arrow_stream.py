"""Arrow IPC, for machines: requests and answers as one stream each (``application/vnd.apache.arrow.stream``).

The request stands as JSON in the schema's metadata under ``millrace``, with the names that the JSON bodies have. The
table of a read holds the join keys, that of a push the rows. The answer to a read is a table of the join keys and then,
for each feature in the order of the request,

- its values, under the feature's name, of the declared type;
- ``<name>__status``, int8, as Feast numbers them: 1 PRESENT, 2 NULL_VALUE, 3 NOT_FOUND, 4 OUTSIDE_MAX_AGE;
- ``<name>__event_timestamp``, timestamp[us, UTC], null where there is no row.

Its metadata holds under ``millrace`` ``{"statuses": {"1": "PRESENT", …}}``, and where expressions
failed ``"expression_errors": {name: rows}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.online import request
from millrace_core.features.online.feature_columns import (
    NOT_FOUND,
    NULL_VALUE,
    OUTSIDE_MAX_AGE,
    PRESENT,
    FeatureColumns,
)
from millrace_core.features.online.ipc_limits import Stream
from millrace_core.features.online.plan import ReadPlan
from millrace_core.features.online.request import STREAM, FeatureRequest
from millrace_core.features.types.arrow_numpy import one_array
from millrace_core.features.types.conform import ARROW, KEY_ARROW, conform

CONTENT_TYPE: Final[tuple[bytes, bytes]] = (b"content-type", STREAM)
METADATA: Final = b"millrace"

_CODES: Final = {PRESENT: 1, NULL_VALUE: 2, NOT_FOUND: 3, OUTSIDE_MAX_AGE: 4}
_STATUSES: Final = {"statuses": {str(code): name for name, code in _CODES.items()}}
_TIME: Final = ARROW["timestamp"]


def decode(stream: Stream) -> tuple[dict[str, Any], pa.Table]:
    """The request document and the table of a body.

    Raises:
        RejectError: the body is no Arrow stream, or its metadata holds no such document.
    """
    table = stream.table()
    metadata = (table.schema.metadata or {}).get(METADATA, b"{}")
    try:
        document = orjson.loads(metadata)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the schema's metadata millrace is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError("the schema's metadata millrace is no JSON object", hint='Write it as {"features": [...]}')
    return document, table


def parse(stream: Stream, default_project: str) -> FeatureRequest:
    """Reads a request for features that came as a stream. Raises as ``request.parse``."""
    document, table = decode(stream)
    names = table.column_names
    if len(set(names)) < len(names):
        raise RejectError("two columns have one name", field="entities")
    entities = {name: _values(name, column) for name, column in zip(names, table.columns, strict=True)}
    return request.from_document({**document, "entities": entities}, default_project)


def _values(name: str, column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values."""
    if pa.types.is_timestamp(column.type):
        # Python's times are no finer than microseconds; which are what keys have, too.
        column = conform(one_array(column), "timestamp", column=name, field=f"entities.{name}")
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException) as error:
        raise RejectError(
            f"a value of the type {column.type} has no form here: {error}", field=f"entities.{name}"
        ) from error


def encode(plan: ReadPlan, entities: Mapping[str, Sequence[Any]], read: Sequence[FeatureColumns]) -> bytes:
    """The answer to a read; ``read`` holds the columns of each of the plan's views, in the plan's order.

    A key that is none of the views', which Feast's clients send for views without entities, has no type, and stays out.
    """
    types = {key.request_column: KEY_ARROW[key.type] for view in plan.reads for key in view.definition.entities}
    made: list[tuple[str, pa.Array]] = [
        (name, _keys(values, types[name])) for name, values in entities.items() if name in types
    ]
    features: list[list[tuple[str, pa.Array]]] = [[] for _ in plan.names]
    for view, columns in zip(plan.reads, read, strict=True):
        moments = pa.array(columns.event_times, pa.int64()).cast(_TIME)
        of_rows = moments if columns.row_times is None else pa.array(columns.row_times, pa.int64()).cast(_TIME)
        codes: dict[int, pa.Array] = {}
        for position, name, column in zip(view.positions, view.features, columns.features, strict=True):
            statuses = codes.get(id(column.statuses))
            if statuses is None:
                statuses = codes[id(column.statuses)] = pa.array([_CODES[each] for each in column.statuses], pa.int8())
            name_in_answer = plan.names[position]
            feature = view.definition.feature[name]
            at = moments if columns.times_of(feature) is columns.event_times else of_rows
            features[position] = [
                (name_in_answer, _array(column.values, ARROW[feature.type])),
                (f"{name_in_answer}__status", statuses),
                (f"{name_in_answer}__event_timestamp", at),
            ]
    made += [column for columns in features for column in columns]
    failed = plan.errors(read)
    about = {METADATA: orjson.dumps({**_STATUSES, **({"expression_errors": failed} if failed else {})})}
    schema = pa.schema([(name, array.type) for name, array in made], metadata=about)
    batch = pa.RecordBatch.from_arrays([array for _, array in made], schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _keys(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Join keys as they came: JSON's forms of times and bytes stay texts."""
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array(values)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        return pa.array(values, pa.list_(pa.int64())).cast(kind)
    return pa.array(values, kind)
