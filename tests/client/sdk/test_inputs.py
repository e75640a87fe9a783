"""What people bring to a feature store, through to the answer: the same from pandas, Polars, Arrow and plain Python."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from millrace import FeatureStore
from millrace_core.base.errors import RejectError
from tests.client.conftest import DAY, NOON, Lake

REFS = ["stats:amount", "stats:visits"]
ENTITIES = {"user_id": [2, 1, 7], "event_timestamp": [NOON, NOON + DAY, NOON]}


@pytest.fixture
def store(lake: Lake) -> FeatureStore:
    made = FeatureStore.from_files([lake.write()], online=lake.online)
    made.materialize("stats", NOON + 2 * DAY)
    return made


@pytest.mark.parametrize(
    "frame",
    [
        ENTITIES,
        pd.DataFrame(ENTITIES),
        pd.DataFrame(ENTITIES).astype({"user_id": "Int64"}),
        pd.DataFrame({**ENTITIES, "user_id": pd.arrays.SparseArray(ENTITIES["user_id"])}),
        pl.DataFrame(ENTITIES),
        pl.DataFrame(ENTITIES).lazy(),
        pa.table(ENTITIES),
        pa.table(ENTITIES).to_reader(),
    ],
    ids=lambda frame: f"{type(frame).__module__}.{type(frame).__name__}",
)
def test_a_training_set_is_the_same_of_every_frame_and_of_references_of_any_kind(
    frame: Any, store: FeatureStore
) -> None:
    found = store.get_historical_features(frame, map(str, REFS)).to_arrow()
    assert found.column("amount").to_pylist() == [3.0, 2.0, None]
    assert found.column_names[-2:] == ["amount", "visits"]


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"user_id": [], "event_timestamp": []}),
        pd.DataFrame({"user_id": pd.Series([], dtype="float64"), "event_timestamp": pd.Series([], dtype="object")}),
        pl.DataFrame({"user_id": [], "event_timestamp": []}),
        pa.table({"user_id": pa.array([], pa.string()), "event_timestamp": pa.array([], pa.null())}),
        {"user_id": [], "event_timestamp": []},
    ],
)
def test_a_frame_without_rows_gives_a_training_set_without_rows(frame: Any, store: FeatureStore) -> None:
    found = store.get_historical_features(frame, REFS).to_arrow()
    assert found.num_rows == 0
    assert [str(found.schema.field(name).type) for name in ("amount", "visits")] == ["double", "int64"]


def test_keys_and_times_of_nothing_match_nothing(store: FeatureStore) -> None:
    for frame in (
        pd.DataFrame({"user_id": [np.nan, np.nan], "event_timestamp": [NOON, NOON]}),
        pd.DataFrame({"user_id": [1, 2], "event_timestamp": [pd.NaT, pd.NaT]}),
        pl.DataFrame({"user_id": [None, None], "event_timestamp": [NOON, NOON]}),
    ):
        assert store.get_historical_features(frame, REFS).to_arrow().column("amount").to_pylist() == [None, None]


ROWS = [{"user_id": 1}, {"user_id": None}, {"user_id": 7}]


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        (row for row in ROWS),
        [{"user_id": 1}, {"user_id": float("nan")}, {"user_id": np.int32(7)}],
        [{"user_id": pa.scalar(1)}, {"user_id": pd.NA}, {"user_id": 7}],
        {"user_id": [1, None, 7]},
        {"user_id": [1, np.nan, 7]},
        pd.DataFrame({"user_id": pd.array([1, None, 7], "Int64")}),
        pl.DataFrame({"user_id": [1, None, 7]}),
        pa.table({"user_id": [1, None, 7]}),
    ],
)
def test_an_online_read_is_the_same_of_every_kind_of_rows(rows: Any, store: FeatureStore) -> None:
    found = store.get_online_features((ref for ref in REFS), rows)
    assert found.to_dict()["amount"] == [2.0, None, None]
    assert found.to_dict()["user_id"] == [1, None, 7]
    assert found.statuses["amount"] == ["PRESENT", "NOT_FOUND", "NOT_FOUND"]


def test_a_frame_of_floats_as_keys_is_answered_with_what_to_do(store: FeatureStore) -> None:
    with pytest.raises(RejectError, match=r'df.astype.*"Int64"'):
        store.get_online_features(REFS, pd.DataFrame({"user_id": [1.0, None]}))
    with pytest.raises(RejectError, match=r"reset_index"):
        store.get_online_features(REFS, pd.DataFrame({"user_id": [1], "x": [1]}).set_index("user_id"))
    with pytest.raises(RejectError, match=r'df.astype.*"Int64"'):
        store.get_historical_features(pd.DataFrame({"user_id": [1.0, None], "event_timestamp": [NOON] * 2}), REFS)


def test_rows_of_a_dict_of_lists_are_pushed(store: FeatureStore) -> None:
    pushed = {"user_id": [7], "event_timestamp": [NOON + timedelta(hours=1)], "amount": [5.0], "visits": [50]}
    assert store.push("stats", pushed, "online").accepted == 1
    assert store.get_online_features(REFS, [{"user_id": 7}]).to_dict()["amount"] == [5.0]


def test_a_frame_without_rows_is_pushed_and_changes_nothing(store: FeatureStore) -> None:
    nothing = pd.DataFrame({"user_id": [], "event_timestamp": [], "amount": [], "visits": []})
    assert store.push("stats", nothing, "online").accepted == 0


def _read(store: FeatureStore) -> list[Any]:
    return list(store.get_online_features(REFS, [{"user_id": 1}]).to_dict()["amount"])


def test_a_store_goes_to_other_processes_with_what_it_knows(store: FeatureStore) -> None:
    assert _read(store) == [2.0]
    assert _read(pickle.loads(pickle.dumps(store))) == [2.0]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        frame = pa.table(ENTITIES)
        made = pool.submit(store.get_historical_features, frame, REFS).result()
    assert made.to_arrow().column("amount").to_pylist() == [3.0, 2.0, None]
    assert pickle.loads(pickle.dumps(made)).to_arrow() == made.to_arrow()
