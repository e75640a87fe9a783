"""A FeatureView, from apply to purge: rows arrive, statuses are observed, deletion leaves nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from tests.builders import feature_view
from tests.e2e.conftest import ClusterUnderTest, in_namespace
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import ServiceClient


def write_events(folder: Path, users: int = 3) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    moments = [datetime(2026, 1, day + 1, tzinfo=UTC) for day in range(2) for _ in range(users)]
    pq.write_table(
        pa.table(
            {
                "user_id": [1000 + user for _ in range(2) for user in range(users)],
                "event_timestamp": pa.array(moments, pa.timestamp("us", tz="UTC")),
                "amount": [float(day * 100 + user) for day in range(2) for user in range(users)],
                "visits": [day + user for day in range(2) for user in range(users)],
            }
        ),
        folder / "events.parquet",
    )
    return f"file://{folder}/"


def online(target: ClusterUnderTest, namespace: str, refs: list[str], users: list[int]) -> dict[str, Any]:
    gateway = ServiceClient(target.ingress_url, "millrace-gateway", "millrace-system")
    answer = gateway.post(
        "/get-online-features", {"features": refs, "entities": {"user_id": users}, "project": namespace}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return dict(zip(body["metadata"]["feature_names"], body["results"], strict=True))


def keys_of(target: ClusterUnderTest, namespace: str, view: str) -> list[bytes]:
    with redis.Redis.from_url(target.store_url) as store:
        return list(store.scan_iter(match=f"*{namespace}:{view}*", count=1000))


@pytest.fixture(scope="module")
def materialized(target: ClusterUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A namespace in which the view ``stats`` is ready."""
    view = feature_view("stats", write_events(tmp_path_factory.mktemp("events"))).having(
        "spec.materialization.startFrom", "2026-01-01T00:00:00Z"
    )
    with in_namespace(target) as kubectl:
        kubectl.apply(view.build())
        kubectl.wait_ready("featureview", "stats")
        yield kubectl


def test_rows_reach_the_online_store_and_the_status_says_what_was_done(
    target: ClusterUnderTest, materialized: Kubectl
) -> None:
    status = materialized.get("featureview", "stats")["status"]
    assert status["lastRun"]["rows"] == 3
    assert status["lastRun"]["seconds"] > 0
    assert status["intervals"][0]["start"] == "2026-01-01T00:00:00Z"
    assert status["watermark"] == status["intervals"][-1]["end"]
    assert status["online"]["keys"] == 3

    answered = eventually(
        lambda: _when_known(target, materialized.namespace, ["stats:amount", "stats:visits"], [1000, 1002, 7])
    )
    assert answered["amount"]["values"] == [100.0, 102.0, None]
    assert answered["visits"]["values"] == [1, 3, None]
    assert answered["amount"]["statuses"] == ["PRESENT", "PRESENT", "NOT_FOUND"]


def _when_known(target: ClusterUnderTest, namespace: str, refs: list[str], users: list[int]) -> dict[str, Any] | None:
    try:
        return online(target, namespace, refs, users)
    except AssertionError:
        return None


def test_the_columns_of_kubectl_get_answer_the_first_question(materialized: Kubectl) -> None:
    header, row = materialized.run("get", "fv").stdout.splitlines()
    assert header.split() == ["NAME", "ENTITIES", "SCHEDULE", "WATERMARK", "FRESH", "READY", "AGE"]
    assert row.startswith("stats")
    assert "True" in row


def test_a_command_materializes_once(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(feature_view("stats", write_events(tmp_path / "events")).build())
    kubectl.wait_ready("featureview", "stats")
    first = kubectl.get("featureview", "stats")["status"]["lastRun"]["name"]
    kubectl.run("annotate", "fv", "stats", "millrace.dev/command=42:materialize")
    eventually(lambda: kubectl.get("featureview", "stats")["status"].get("handledCommand") == "42:materialize")
    eventually(lambda: kubectl.get("featureview", "stats")["status"]["lastRun"]["name"] != first)
    jobs = kubectl.list("jobs")
    kubectl.run("annotate", "fv", "stats", "millrace.dev/command=42:materialize", "--overwrite")
    assert len(kubectl.list("jobs")) == len(jobs)


def test_deletion_purges_the_rows_of_this_view_only(target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path) -> None:
    uri = write_events(tmp_path / "events")
    kubectl.apply(feature_view("stats", uri).build(), feature_view("stats-other", uri).build())
    kubectl.wait_ready("featureview", "stats")
    kubectl.wait_ready("featureview", "stats-other")
    others = len(keys_of(target, kubectl.namespace, "stats-other"))
    assert others
    kubectl.run("delete", "fv", "stats", "--timeout=60s")
    remaining = [key for key in keys_of(target, kubectl.namespace, "stats") if b"stats-other" not in key]
    assert remaining == []
    assert len(keys_of(target, kubectl.namespace, "stats-other")) == others
    eventually(lambda: kubectl.list("cronjobs", "millrace.dev/view=stats") == [])


# By view: what of it does not fit its source, and the words that say so.
UNFIT: dict[str, tuple[str, Any, list[str]]] = {
    "no-time": ("spec.source.timestampField", "when", ["timestampField", "when", "event_timestamp"]),
    "no-folder": ("spec.source.parquet.uri", "file:///no/such/folder/", ["/no/such/folder"]),
    "no-column": ("spec.features", [{"name": "cost", "type": "float64"}], ["cost", "amount"]),
    "no-type": ("spec.features", [{"name": "amount", "type": "timestamp"}], ["amount", "timestamp"]),
}


@pytest.fixture(scope="module")
def unfit(target: ClusterUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    """A namespace with all of these views."""
    source = write_events(tmp_path_factory.mktemp("events"))
    with in_namespace(target) as kubectl:
        kubectl.apply(
            *(feature_view(name, source).having(path, value).build() for name, (path, value, _) in UNFIT.items())
        )
        yield kubectl


@pytest.mark.parametrize("view", UNFIT)
def test_a_source_that_does_not_fit_is_reported_and_nothing_is_written(
    target: ClusterUnderTest, unfit: Kubectl, view: str
) -> None:
    condition = eventually(
        lambda: (found := unfit.condition("fv", view, "Materialized")).get("status") == "False" and found
    )
    for word in UNFIT[view][2]:
        assert word in condition["message"]
    # The meta key says that a run began; rows are what readers see.
    assert [key for key in keys_of(target, unfit.namespace, view) if not key.endswith(b":meta")] == []


def test_after_the_source_is_mended_the_same_view_becomes_ready(kubectl: Kubectl, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    kubectl.apply(feature_view("stats", f"file://{folder}/").build())
    eventually(lambda: kubectl.condition("fv", "stats", "Materialized").get("status") == "False")
    write_events(folder)
    kubectl.run("annotate", "fv", "stats", "millrace.dev/command=1:materialize")
    kubectl.wait_ready("featureview", "stats")
