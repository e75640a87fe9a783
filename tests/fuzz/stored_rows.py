"""What the online store may hold under the platform's keys: rows, layouts, and the copy of the definitions."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import orjson

from millrace_core.base.errors import ReportError
from millrace_core.features.online import kept_definitions, keys, stored_value
from millrace_core.features.online.edition import Edition
from millrace_core.features.online.kept_definitions import Head
from millrace_core.features.online.row import Layout, schema_id
from millrace_core.features.online.row_reader import NO_ENTITY, RowReader, layouts_of
from millrace_services.gateway.answer_form import feast_values, json_values
from tests.builders import feature_view
from tests.services.gateway.test_feature_reads import compiled, published

_TYPES: Final = ("bool", "int32", "int64", "float32", "float64", "string", "bytes", "timestamp")
_VALUES: Final[list[Any]] = [True, -2, 2**62, 1.5, float("nan"), "é", b"\xff\0", 1_700_000_000_000_000]
_AS_OF: Final = 1_800_000_000_000_000
_EVENT: Final = _AS_OF - 1_000_000


_ALL_TYPES: Final = [
    *({"name": f"f_{kind}", "type": kind} for kind in _TYPES),
    *({"name": f"a_{kind}", "type": f"array<{kind}>"} for kind in _TYPES if kind != "bytes"),
]
_WINDOWED: Final = [
    {"name": "last", "type": "string", "column": "s"},
    {"name": "n", "type": "int64", "aggregate": {"function": "count", "window": "7d"}},
    {"name": "twice", "type": "int64", "expression": "n * 2"},
]
DOCUMENTS: Final = [
    published(built.build(), "shop")
    for built in (
        feature_view("whole").having("spec.features", _ALL_TYPES).having("spec.ttl", "30d"),
        feature_view("sums").having("spec.features", _WINDOWED).having("spec.aggregation", {"every": "1h"}),
    )
]
WHOLE, SUMS = (compiled(document, "shop") for document in DOCUMENTS)
_DEFINITIONS: Final = [WHOLE, SUMS]
_READERS: Final = [RowReader(each, [feature.name for feature in each.features]) for each in _DEFINITIONS]


def _rows() -> list[bytes]:
    layout = Layout.of(WHOLE)
    arrays = [[value, None, value] for kind, value in zip(_TYPES, _VALUES, strict=True) if kind != "bytes"]
    full = layout.encode(_EVENT, _EVENT, [*_VALUES, *arrays])
    empty = layout.encode(_EVENT, None, [None] * len(layout.features), stamp=3)
    bare = layout.encode(_EVENT, None, [*_VALUES, *([[]] * len(arrays))])
    snapshot = Layout.of(SUMS)
    values = [{"string": "a", "timestamp": _EVENT}.get(feature.type, 3) for feature in snapshot.features]
    several = bytes([stored_value.SEVERAL]) + b"".join(len(row).to_bytes(4, "big") + row for row in (full, empty))
    return [full, empty, bare, snapshot.encode(_EVENT, None, values), several, b"\1" + full[1:25] + full[29:]]


_LAYOUTS: Final = orjson.dumps(Layout.of(WHOLE).as_dict())
ROWS: Final = _rows()
KEPT: Final = [kept_definitions.encode(Head(Edition("c", 7), '"e"'), b'{"featureViews": []}'), _LAYOUTS]


def read(row: bytes) -> None:
    """Reads a row alone, and beside sound ones: as a whole, feature by feature, and as JSON.

    Raises:
        ReportError: it is none, which all ways to read it have to find.
    """
    refused: list[ReportError] = []
    for reader, sound in zip(_READERS, (ROWS[0], ROWS[3]), strict=True):
        others = {Layout.of(each).schema_id: Layout.of(each) for each in _DEFINITIONS}
        _whole(row, others, refused)
        for rows in ([row], [row, sound], [sound, None, row, NO_ENTITY]):
            before = len(refused)
            try:
                found = reader.read(rows, _AS_OF, others)
            except ReportError as error:
                refused.append(error)
                continue
            assert not before, (refused[0], found)
            for column in found.features:
                assert len(column.values) == len(column.statuses) == len(rows)
            for feature, column in zip(reader.features, found.features, strict=True):
                orjson.dumps(json_values(feature.type, column.values))
                orjson.dumps(feast_values(feature.type, column.values))
    stored_value.newest_event_time(row[: stored_value.NEWEST_BYTES])
    if refused:
        raise refused[0]


def _whole(row: bytes, layouts: dict[bytes, Layout], refused: list[ReportError]) -> None:
    """What the format's own definition says of it, which reads row by row and checks all."""
    try:
        if row:
            one = stored_value.visible(row, _AS_OF)
            if layout := layouts.get(schema_id(one)):
                layout.decode(one)
    except ReportError as error:
        refused.append(error)


def kept(value: bytes) -> None:
    """Reads a copy of the definitions, and a layout.

    Raises:
        ReportError: it is none.
    """
    kept_definitions.head(value[: kept_definitions.HEAD_BYTES])
    for layout in layouts_of({keys.META_LAYOUT + b"0102030405060708": value}).values():
        for row in ROWS:
            with suppress(ReportError):
                layout.decode(layout.head + row[len(layout.head) :])
    kept_definitions.decode(value)
