"""The SDK: definitions from files, registry and cluster; training sets; online reads; errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from millrace import FeatureStore
from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_local.apiserver.process import RunningServer
from tests import api_server
from tests.api_client import client_of
from tests.builders import Built, feature_view

REPOSITORY = Path(__file__).parents[3]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def events(tmp_path: Path) -> str:
    """Two users; user 1 has two events, a day apart."""
    folder = tmp_path / "events"
    folder.mkdir()
    table = pa.table(
        {
            "user_id": [1, 1, 2],
            "event_timestamp": pa.array([NOON, NOON + DAY, NOON], pa.timestamp("us", tz="UTC")),
            "amount": [1.0, 2.0, 3.0],
            "visits": [10, 20, 30],
        }
    )
    pq.write_table(table, folder / "events.parquet")
    return f"file://{folder}/"


def write(folder: Path, *views: Built) -> Path:
    path = folder / "views.yaml"
    path.write_text(yaml.safe_dump_all([view.build() for view in views]))
    return path


def frame() -> dict[str, list[Any]]:
    return {
        "user_id": [2, 1, 1, 7, 1],
        "event_timestamp": [NOON, NOON + DAY, NOON + DAY - timedelta(microseconds=1), NOON, NOON - DAY],
        "label": [0, 1, 0, 1, 0],
    }


EXPECTED = [3.0, 2.0, 1.0, None, None]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "parquet"])
def test_every_form_of_entity_frame_gives_the_same_training_set(kind: str, events: str, tmp_path: Path) -> None:
    table = pa.table(frame())
    pq.write_table(table, tmp_path / "frame.parquet")
    forms = {
        "pandas": lambda: pd.DataFrame(frame()),
        "polars": lambda: pl.DataFrame(frame()),
        "arrow": lambda: table,
        "parquet": lambda: tmp_path / "frame.parquet",
    }
    store = FeatureStore.from_files([write(tmp_path, feature_view("stats", events))])
    found = store.get_historical_features(forms[kind](), features=["stats:amount"])
    assert found.to_arrow().column_names == ["user_id", "event_timestamp", "label", "amount"]
    assert found.to_arrow()["amount"].to_pylist() == EXPECTED
    assert found.to_arrow()["label"].to_pylist() == [0, 1, 0, 1, 0]
    assert len(found.to_pandas()) == 5
    assert found.to_polars()["amount"].to_list() == EXPECTED
    found.to_parquet(tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").equals(found.to_arrow())


def test_two_views_with_one_feature_name_need_full_names(events: str, tmp_path: Path) -> None:
    store = FeatureStore.from_files([write(tmp_path, feature_view("a", events), feature_view("b", events))])
    with pytest.raises(RejectError, match="a:amount and b:amount would both be called 'amount'"):
        store.get_historical_features(pa.table(frame()), ["a:amount", "b:amount"])
    found = store.get_historical_features(pa.table(frame()), ["a:amount", "b:amount"], full_feature_names=True)
    assert found.to_arrow().column_names[-2:] == ["a__amount", "b__amount"]


WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "unknown view": ({"features": ["nothing:amount"]}, NotFoundError, "no feature view 'nothing'.*stats"),
    "unknown feature": ({"features": ["stats:cost"]}, NotFoundError, "no feature 'cost'.*amount, visits"),
    "no list": ({"features": "stats:amount"}, RejectError, "list of references"),
    "no timestamp column": ({"timestamp_column": "when"}, RejectError, "no column 'when'.*user_id"),
    "timestamp of a wrong type": ({"timestamp_column": "label"}, RejectError, "label"),
    "no frame": ({"entity_df": [1, 2]}, RejectError, "list came; a pandas or Polars DataFrame"),
    "no file": ({"entity_df": "/no/such.parquet"}, NotFoundError, "/no/such.parquet"),
    "a name that is taken": ({"features": ["stats:label"]}, NotFoundError, "label"),
    "no join key": ({"entity_df": pa.table({"event_timestamp": [NOON]})}, RejectError, "no column 'user_id'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str, events: str, tmp_path: Path) -> None:
    change, error, words = WRONG[case]
    store = FeatureStore.from_files([write(tmp_path, feature_view("stats", events))])
    arguments = {"entity_df": pa.table(frame()), "features": ["stats:amount"], **change}
    with pytest.raises(error, match=words):
        store.get_historical_features(**arguments)


def test_a_missing_definition_file_and_a_view_defined_twice_are_named(events: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"/no/such\.yaml"):
        FeatureStore.from_files(["/no/such.yaml"])
    path = write(tmp_path, feature_view("a", events), feature_view("a", events))
    with pytest.raises(RejectError, match="'a' is defined twice"):
        FeatureStore.from_files([path])


def test_a_folder_of_yaml_files_is_read_whole(events: str, tmp_path: Path) -> None:
    write(tmp_path, feature_view("a", events), feature_view("b", events))
    assert FeatureStore.from_files([tmp_path]).feature_views == ["a", "b"]


def test_without_a_way_to_read_online_the_error_says_how_to_give_one(events: str, tmp_path: Path) -> None:
    store = FeatureStore.from_files([write(tmp_path, feature_view("stats", events))])
    with pytest.raises(RejectError, match="online="):
        store.get_online_features(["stats:amount"], [{"user_id": 1}])


def test_an_online_store_that_does_not_answer_is_named(events: str, tmp_path: Path) -> None:
    store = FeatureStore.from_files([write(tmp_path, feature_view("stats", events))], online="redis://127.0.0.1:1")
    with pytest.raises(RetryError, match="online store"):
        store.get_online_features(["stats:amount"], [{"user_id": 1}])
    with pytest.raises(RejectError, match=r"entity_rows\[1\]: has customer, expected user_id"):
        store.get_online_features(["stats:amount"], [{"user_id": 1}, {"customer": 2}])
    for rows in ({"user_id": 1}, "user_id", [1]):
        with pytest.raises(RejectError, match=r"entity_rows.*Pass (a list such as )?\[\{.user_id.: "):
            store.get_online_features(["stats:amount"], rows)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("apiserver")
    running = api_server.start(folder, kubeconfig=folder / "kubeconfig", crds=[REPOSITORY / "crds"])
    yield running
    running.stop()


def test_a_clusters_views_give_the_same_training_set(cluster: RunningServer, events: str) -> None:
    path = "/apis/millrace.dev/v1alpha1/namespaces/default/featureviews"
    with client_of(cluster) as http:
        answer = http.post(path, json=feature_view("stats", events).build())
    assert answer.status_code == 201, answer.text
    store = FeatureStore.from_cluster(cluster.kubeconfig)
    assert store.feature_views == ["stats"]
    assert (
        store.get_historical_features(pa.table(frame()), ["stats:amount"]).to_arrow()["amount"].to_pylist() == EXPECTED
    )


def test_a_clusters_view_is_what_was_accepted_not_what_somebody_wrote(cluster: RunningServer, events: str) -> None:
    path = "/apis/millrace.dev/v1alpha1/namespaces/default/featureviews"
    http = client_of(cluster)
    made = http.post(path, json=feature_view("held", events).build()).json()
    accepted = {**made["spec"], "ttl": "3d"}
    patch = {"status": {"definition": accepted}}
    merge = {"Content-Type": "application/merge-patch+json"}
    answer = http.patch(f"{path}/held/status", json=patch, headers=merge)
    assert answer.status_code == 200, answer.text
    try:
        store = FeatureStore.from_cluster(cluster.kubeconfig)
        assert store.definition("held").ttl == 3 * 24 * 3600 * 1_000_000
        assert store.describe_spec("held")["ttl"] == "3d"
    finally:
        http.delete(f"{path}/held")
        http.close()


def test_a_cluster_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RejectError, match="no usable kubeconfig"):
        FeatureStore.from_cluster(tmp_path / "nothing")


def test_a_registry_that_is_not_there_is_named() -> None:
    with pytest.raises(RetryError, match=r"http://127\.0\.0\.1:1 gives no definitions"):
        FeatureStore.connect("http://127.0.0.1:1")


def test_a_training_set_says_how_far_it_is(events: str, tmp_path: Path) -> None:
    views = [feature_view(name).having("spec.source.parquet.uri", events) for name in ("stats", "others")]
    store = FeatureStore.from_files([write(tmp_path, *views)])
    told: list[tuple[int, float]] = []
    refs = ["stats:amount", "others:amount"]
    made = store.get_historical_features(
        frame(), refs, full_feature_names=True, progress=lambda rows, done: told.append((rows, done))
    )
    assert made.to_arrow()["stats__amount"].to_pylist() == EXPECTED
    # Two views of three rows, which are read twice: to find those that count, and to take their features.
    assert told[-1][1] == 1.0
    assert 6 < max(rows for rows, _ in told) <= 12
    assert told == sorted(told)
    assert {done for _, done in told} >= {0.0, 0.25, 1.0}


def test_one_view_under_two_keys_gives_each_row_both(events: str, tmp_path: Path) -> None:
    store = FeatureStore.from_files([write(tmp_path, feature_view("stats").having("spec.source.parquet.uri", events))])
    pairs = pa.table({"sender": [1, 2, 7], "receiver": [2, 1, 1], "event_timestamp": [NOON + DAY] * 3})
    refs = ["stats as s(user_id=sender):amount", "stats as r(user_id=receiver):amount"]
    made = store.get_historical_features(pairs, refs, full_feature_names=True).to_arrow()
    assert made["s__amount"].to_pylist() == [2.0, 3.0, None]
    assert made["r__amount"].to_pylist() == [3.0, 2.0, 2.0]
    with pytest.raises(RejectError, match="sender"):
        store.get_historical_features(pairs.drop(["sender"]), refs, full_feature_names=True)
    alone = store.get_historical_features(entities="all", end=NOON + DAY, features=refs[:1]).to_arrow()
    assert alone.column_names == ["sender", "event_timestamp", "amount"]
    assert alone["amount"].to_pylist() == [2.0, 3.0]
