"""Expressions from a notebook: the same values in a training set and online, from YAML and a lake."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from millrace import FeatureStore
from millrace_core.base.errors import RejectError
from tests.client.conftest import DAY, NOON, Lake

FEATURES = [
    {"name": "amount", "type": "float64"},
    {"name": "log_amount", "type": "float32", "expression": "ln(amount + 1)"},
    {"name": "bucket", "type": "string", "expression": "case when amount >= 10 then 'high' else 'low' end"},
    {"name": "ratio", "type": "float64", "expression": "request.cart / nullif(amount, 0)"},
    {"name": "fallback", "type": "float64", "expression": "coalesce(log_amount, request.cart)"},
]


@pytest.fixture
def feature_store(lake: Lake, online: str) -> FeatureStore:
    view = lake.view().having("spec.features", FEATURES)
    view = view.having("spec.requestFields", [{"name": "cart", "type": "float64"}])
    return FeatureStore.from_files([lake.write(view)], online=online)


NAMES = [f"stats:{feature['name']}" for feature in FEATURES]


def test_a_training_set_holds_what_online_reads_answer(feature_store: FeatureStore) -> None:
    feature_store.materialize("stats", end=NOON + DAY)
    carts = [3.0, None, math.inf, 5.0]
    users = [1, 2, 77, 1]
    frame = pd.DataFrame({"user_id": users, "event_timestamp": [NOON + DAY] * 4, "cart": carts})

    training = feature_store.get_historical_features(frame, NAMES).to_arrow()
    online = feature_store.get_online_features(NAMES, [{"user_id": user} for user in users], {"cart": carts})

    assert training.column_names == ["user_id", "event_timestamp", "cart", *(name.split(":")[1] for name in NAMES)]
    for name in training.column_names[3:]:
        assert training[name].to_pylist() == online.to_dict()[name], name
        assert training[name].type == online.to_arrow()[name].type
    assert training["fallback"].to_pylist()[2] == math.inf
    assert training["bucket"].to_pylist()[2] is None
    assert feature_store.verify("stats").clean


def test_request_fields_may_stand_in_the_entity_rows(feature_store: FeatureStore) -> None:
    feature_store.materialize("stats", end=NOON + DAY)
    apart = feature_store.get_online_features(["stats:ratio"], [{"user_id": 1}], {"cart": [3.0]})
    together = feature_store.get_online_features(["stats:ratio"], [{"user_id": 1, "cart": 3.0}])

    assert together.to_dict() == apart.to_dict()
    with pytest.raises(RejectError, match=r"request.cart: request field 'cart' is missing"):
        feature_store.get_online_features(["stats:ratio"], [{"user_id": 1}])
    with pytest.raises(RejectError, match=r"request.card: no feature reads this.*The request fields are: cart"):
        feature_store.get_online_features(["stats:ratio"], [{"user_id": 1}], {"card": [3.0]})
    frame = pd.DataFrame({"user_id": [1], "event_timestamp": [NOON]})
    with pytest.raises(RejectError, match=r"entity_df.cart: there is no column 'cart'"):
        feature_store.get_historical_features(frame, ["stats:ratio"])


BEFORE_1970 = datetime(1901, 2, 3, 4, 5, 6, 789, UTC)
ODD: dict[str, tuple[str, pa.Array]] = {
    "floats": ("float64", pa.array([math.nan, -0.0, math.inf])),
    "single": ("float32", pa.array([-math.inf, 1e-45, math.nan], pa.float32())),
    "text": ("string", pa.array(["", "é\0|{}", "x" * 10_000_000])),
    "raw": ("bytes", pa.array([b"", b"\xff\0", None], pa.binary())),
    "moment": ("timestamp", pa.array([BEFORE_1970, None, datetime(1, 1, 1, tzinfo=UTC)], pa.timestamp("us", "UTC"))),
    "vector": ("array<float32>", pa.array([[0.1, None, math.nan], [], None], pa.list_(pa.float32()))),
    "words": ("array<string>", pa.array([["", "é", None], None, []], pa.list_(pa.string()))),
    "blobs": ("array<bytes>", pa.array([[b"\xff", b""], None, []], pa.list_(pa.binary()))),
    "flags": ("array<bool>", pa.array([[True, None], [False] * 9, []])),
    "times": ("array<timestamp>", pa.array([[BEFORE_1970, None], None, []], pa.list_(pa.timestamp("us", "UTC")))),
}


def test_odd_values_and_arrays_pass_through_every_path_unchanged(lake: Lake, online: str) -> None:
    columns: dict[str, Any] = {"user_id": pa.array([1, 2, 3]), "event_timestamp": pa.array([NOON] * 3)}
    folder = lake.folder / "odd"
    folder.mkdir()
    pq.write_table(pa.table(columns | {name: column for name, (_, column) in ODD.items()}), folder / "1.parquet")
    features = [{"name": name, "type": kind} for name, (kind, _) in ODD.items()]
    copies = [{"name": f"{name}_x", "type": kind, "expression": name} for name, (kind, _) in ODD.items()]
    view = (
        lake.view("odd")
        .having("spec.source.parquet.uri", f"file://{folder}/")
        .having("spec.features", features + copies)
    )
    feature_store = FeatureStore.from_files([lake.write(view)], online=online)
    feature_store.materialize("odd", end=NOON)
    names = [f"odd:{feature['name']}" for feature in features + copies]
    frame = pd.DataFrame({"user_id": [1, 2, 3], "event_timestamp": [NOON] * 3})

    training = feature_store.get_historical_features(frame, names).to_arrow()
    read = feature_store.get_online_features(names, [{"user_id": user} for user in (1, 2, 3)]).to_arrow()

    for name, (_, column) in ODD.items():
        for found in (training, read):
            for each in (name, f"{name}_x"):
                assert repr(found[each].to_pylist()) == repr(column.to_pylist()), each
    assert feature_store.verify("odd").clean


def test_pushes_and_reads_tell_for_how_many_rows_an_expression_failed(lake: Lake, online: str) -> None:
    view = lake.view().having(
        "spec.features",
        [
            {"name": "word", "type": "string"},
            {"name": "number", "type": "int64", "expression": "word::int"},
            {"name": "sent", "type": "int64", "expression": "request.text::int"},
        ],
    )
    view = view.having("spec.requestFields", [{"name": "text", "type": "string"}])
    store = FeatureStore.from_files([lake.write(view)], online=online)
    rows = {"user_id": [1, 2], "event_timestamp": [NOON, NOON], "word": ["7", "x"]}
    assert store.push("stats", rows, to="online").expression_errors == {"number": 1}
    users = [{"user_id": 1}, {"user_id": 2}]
    found = store.get_online_features(["stats:number", "stats:sent"], users, {"text": ["a", "5"]})
    assert found.to_dict() == {"user_id": [1, 2], "number": [7, None], "sent": [None, 5]}
    assert found.expression_errors == {"sent": 1}
    whole = store.get_online_features(["stats:sent"], users, {"text": ["a", "b"]}, full_feature_names=True)
    assert whole.expression_errors == {"stats__sent": 2}
