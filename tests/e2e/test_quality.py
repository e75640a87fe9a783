"""Quality rules and shared runs: two pods write a view's rows, and bad rows leave the last good values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.builders import feature_view
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.test_feature_view import keys_of, write_events

RULES = [
    {"column": "amount", "min": 0, "severity": "block"},
    {"column": "visits", "max": 2, "severity": "warn"},
    {"unique": True},
]


def add_bad_row(folder: Path) -> None:
    row = {"user_id": [1000], "amount": [-1.0], "visits": [1]}
    row["event_timestamp"] = pa.array([1_768_000_000_000_000], pa.timestamp("us", "UTC"))  # type: ignore[assignment]
    pq.write_table(pa.table(row), folder / "more.parquet")


def test_two_pods_share_a_run_and_bad_rows_leave_the_last_good_values(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    view = (
        feature_view("stats", write_events(tmp_path / "events", users=40))
        .having("spec.materialization.parallelism", 2)
        .having("spec.quality", RULES)
    )
    kubectl.apply(view.build())
    kubectl.wait_ready("featureview", "stats")
    status = kubectl.get("featureview", "stats")["status"]
    assert (status["lastRun"]["rows"], status["online"]["keys"]) == (40, 40)
    job = kubectl.get("job", status["lastRun"]["name"])
    assert (job["spec"]["completionMode"], job["status"]["completedIndexes"]) == ("Indexed", "0,1")
    quality = kubectl.condition("fv", "stats", "QualityOK")
    assert (quality["status"], quality["reason"]) == ("True", "QualityWarnings")
    assert "visits.range: " in quality["message"]

    add_bad_row(tmp_path / "events")
    kubectl.run("annotate", "fv", "stats", "millrace.dev/command=1:materialize full")
    blocked = eventually(lambda: (it := kubectl.condition("fv", "stats", "QualityOK")).get("status") == "False" and it)
    assert blocked["reason"] == "QualityBlocked"
    assert "amount.range: 1 of 81 values are less than 0" in blocked["message"]
    after: dict[str, Any] = kubectl.get("featureview", "stats")["status"]
    assert after["watermark"] == status["watermark"]
    assert after["quality"][0]["failing"] == 1
    assert kubectl.condition("fv", "stats", "Ready")["reason"] == "QualityBlocked"
    assert len(keys_of(target, kubectl.namespace, "stats")) >= 40

    (tmp_path / "events" / "more.parquet").unlink()
    kubectl.run("annotate", "fv", "stats", "millrace.dev/command=2:materialize full", "--overwrite")
    kubectl.wait_ready("featureview", "stats")
    assert kubectl.condition("fv", "stats", "QualityOK")["status"] == "True"
