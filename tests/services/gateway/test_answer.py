"""The JSON of answers is put together from pieces; it must be what encoding the whole would give."""

from __future__ import annotations

from math import isfinite
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.features.online.feature_columns import NOT_FOUND
from millrace_core.features.online.plan import ReadPlan, compile_plan
from millrace_core.features.online.published import Snapshot
from millrace_core.features.online.row import Layout
from millrace_core.features.types import times
from millrace_services.gateway import answer, answer_form
from tests.core.features.histories import view

NUMBERS = view(("a", "float64"), ("b", "int32"), ("c", "float32"), name="numbers", ttl="1h")
TEXTS = view(("s", "string"), ("t", "timestamp"), ("f", "bool"), ("x", "float64"), name="texts")
SNAPSHOT = Snapshot("1", {("default", "numbers"): NUMBERS, ("default", "texts"): TEXTS})
HOUR = 3_600_000_000


def plan(*refs: str) -> ReadPlan:
    return compile_plan(SNAPSHOT, "default", refs, full_names=False)


def encoded(one: ReadPlan, keys: list[Any], rows: list[list[bytes | None]]) -> Any:
    read = [view.reader.read(part, 0) for view, part in zip(one.reads, rows, strict=True)]
    return orjson.loads(answer.encode(one, {"id": keys}, len(keys), read)), read


number = st.none() | st.floats(width=32)
whole = st.none() | st.integers(-(2**31), 2**31 - 1)
moment = st.integers(-2 * HOUR, HOUR) | st.just(0)
numbers_row = st.none() | st.tuples(moment, st.tuples(number, whole, number))
texts_row = st.none() | st.tuples(
    moment,
    st.tuples(st.none() | st.text(), st.none() | st.integers(-(2**62), 2**62), st.none() | st.booleans(), number),
)


@given(st.lists(st.tuples(numbers_row, texts_row), max_size=4), st.permutations(["numbers:a", "numbers:b", "texts:s"]))
def test_an_answer_is_the_same_whichever_way_it_is_put_together(given_rows: Any, order: list[str]) -> None:
    one = plan(*order, "numbers:c", "texts:t", "texts:f", "texts:x")
    packed: dict[str, list[bytes | None]] = {"numbers": [], "texts": []}
    for pair in given_rows:
        for definition, row in zip((NUMBERS, TEXTS), pair, strict=True):
            made = None if row is None else Layout.of(definition).encode(row[0], None, row[1])
            packed[definition.view].append(made)
    keys = list(range(len(given_rows)))
    found, read = encoded(one, keys, [packed[view.definition.view] for view in one.reads])
    assert found["metadata"]["feature_names"] == ["id", *one.names]
    assert found["results"][0]["values"] == keys
    for view_read, columns in zip(one.reads, read, strict=True):
        at = ["1970-01-01T00:00:00Z" if time is None else times.render(time) for time in columns.event_times]
        for position, name, column in zip(view_read.positions, view_read.features, columns.features, strict=True):
            kind = view_read.definition.feature[name].type
            expected = orjson.loads(orjson.dumps(list(answer_form.json_values(kind, column.values))))
            assert found["results"][1 + position] == {
                "values": expected,
                "statuses": list(column.statuses),
                "event_timestamps": at,
            }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e-7, 1e300, -0.0])
def test_floats_are_numbers_where_json_has_them_and_words_where_not(value: float) -> None:
    row = Layout.of(NUMBERS).encode(0, None, (value, 1, 1.0))
    found, _ = encoded(plan("numbers:a"), [1], [[row]])
    [came] = found["results"][1]["values"]
    assert isinstance(came, str) == (not isfinite(value))
    assert repr(float(came)) == repr(value)


@given(st.lists(st.none() | st.integers(-(2**62), 2**62) | st.integers(-62_135_596_800_000_000, 2**52)))
def test_event_times_are_rendered_as_everywhere_else(given_times: list[int | None]) -> None:
    epoch = "1970-01-01T00:00:00Z"
    assert orjson.loads(answer._moments(given_times)) == [
        epoch if at is None else times.render(at) for at in given_times
    ]


def test_a_request_without_entities_has_columns_without_values() -> None:
    found, _ = encoded(plan("numbers:a", "numbers:b"), [], [[]])
    assert [result["values"] for result in found["results"]] == [[], [], []]


@pytest.mark.parametrize(
    ("age", "expected"),
    [(HOUR - 1, "PRESENT"), (HOUR, "PRESENT"), (HOUR + 1, "OUTSIDE_MAX_AGE"), (-1, "OUTSIDE_MAX_AGE")],
)
def test_a_value_is_present_up_to_exactly_its_ttl(age: int, expected: str) -> None:
    row = Layout.of(NUMBERS).encode(-age, None, (1.0, 2, 3.0))
    found, _ = encoded(plan("numbers:a"), [1, 2], [[row, None]])
    assert found["results"][1]["statuses"] == [expected, NOT_FOUND]
