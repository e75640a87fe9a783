"""The demo's parts: its data, its report, and how it applies YAML without kubectl."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from millrace import FeatureStore
from millrace_core.api.loading import load_yaml
from millrace_core.base.errors import RejectError, ReportError
from millrace_local.apiserver.process import RunningServer
from millrace_local.demo import data, report, run
from millrace_local.demo.applier import Applier
from tests import api_server
from tests.api_client import client_of

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("apiserver")
    running = api_server.start(folder, kubeconfig=folder / "kubeconfig", crds=[REPOSITORY / "crds"])
    yield running
    running.stop()


def test_models_of_the_demo_leave_nothing_in_the_temporary_directory(tmp_path: Path) -> None:
    environ = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    words = [sys.executable, "-c", "import millrace_local.demo.run"]
    subprocess.run(words, env={**environ, "TMPDIR": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_the_sample_yaml_is_valid_and_names_features_that_exist() -> None:
    objects = [found for path in run.SAMPLES.glob("*.yaml") for found in load_yaml(path.read_text())]
    known = {
        f"{view.metadata['name']}:{feature.name}" for view in run.feature_views() for feature in view.spec.features
    }
    assert len(objects) == 5
    assert set(run.model_refs()) == known


def test_the_demos_samples_read_and_write_nothing_outside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    texts = [path.read_text() for path in run.write_samples(folder).glob("*.yaml")]
    assert len(texts) == len(list(run.SAMPLES.glob("*.yaml")))
    addresses = [word for text in texts for word in text.split('"') if word.startswith("file:")]
    assert len(addresses) == 4
    assert all(address.startswith(f"{folder.as_uri()}/") for address in addresses)


@pytest.mark.slow
def test_help_says_what_the_demo_is_and_runs_nothing(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "millrace_local.demo", "--help"]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert "runs the demo" in ran.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_training_set_is_what_was_measured_last_and_corrected(tmp_path: Path) -> None:
    demo_data = data.write(tmp_path)
    views = run.write_samples(tmp_path) / "feature-views.yaml"
    refs = run.model_refs()
    training_set = (
        FeatureStore.from_files([views])
        .get_historical_features(demo_data.entities, features=refs, timestamp_column="event_timestamp")
        .to_arrow()
    )
    from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - each worker would read it, whatever it tests

    bunch = load_breast_cancer()
    by_name = {data.column_name(str(name)): bunch.data[:, index] for index, name in enumerate(bunch.feature_names)}
    for ref in refs:
        name = ref.split(":")[1]
        assert np.array_equal(training_set[name].to_numpy(), by_name[name]), name


def test_a_join_that_ignores_corrections_would_train_on_wrong_numbers(tmp_path: Path) -> None:
    data.write(tmp_path)
    events = pq.read_table(tmp_path / "cell-means" / "events.parquet").to_pandas()
    doubled = events.groupby(["patient_id", "measured_at"]).size()
    assert (doubled == 2).sum() == 57


def figures(**changes: object) -> report.DemoFigures:
    given = {
        "requests": 3000,
        "failed": 0,
        "expected_share": 0.2,
        "measured_share": 0.2,
        "difference": 0.0,
        "seconds": (0.001,),
        "skewed": 0,
        "verified": 11_380,
        "mismatched": 0,
    }
    return report.DemoFigures(**{**given, **changes})  # type: ignore[arg-type]


def test_the_report_says_which_figures_are_not_what_they_have_to_be() -> None:
    assert figures().failures == ()
    assert figures(failed=1).failures == ("requests failed",)
    assert figures(difference=2e-6).failures == ("served against offline, largest difference",)
    assert figures(skewed=1).failures == ("online values that differ from the training set",)
    assert figures(mismatched=1).failures == ("skew check: of 11,380 values recomputed differ",)
    assert figures(verified=0).failures == ("skew check: of 0 values recomputed differ",)
    assert figures(measured_share=0.25, failed=1).failures == ("requests failed", "share of boosting")


def test_every_figure_that_can_fail_is_a_row_of_the_table() -> None:
    bad = figures(failed=1, difference=1.0, skewed=1, mismatched=1, measured_share=1.0)
    [names, *_] = report.table(bad).columns
    assert set(bad.failures) < set(names.cells)


def test_without_kubectl_the_python_client_applies_and_waits(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    applier = Applier(server.kubeconfig, said.append)
    assert "kubectl is not installed; install it" in said[0]
    applier.apply(run.SAMPLES / "experiment.yaml")
    applier.apply(run.SAMPLES / "experiment.yaml")
    assert said[-1] == "experiment/boosting-or-logistic applied"
    with pytest.raises(ReportError, match="experiment/boosting-or-logistic is not Ready"):
        applier.wait_ready("experiment", ["boosting-or-logistic"], 0.3)

    path = "/apis/millrace.dev/v1alpha1/namespaces/default/experiments/boosting-or-logistic/status"
    condition = {
        "type": "Ready",
        "status": "True",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "reason": "Test",
        "message": "",
    }
    decision = {"verdict": "Promote", "arm": "boosting", "reason": "boosting promoted by command"}
    assert applier.status("experiment", "boosting-or-logistic") == {}
    with client_of(server, **{"content-type": "application/merge-patch+json"}) as http:
        response = http.patch(path, content=json.dumps({"status": {"conditions": [condition], "decision": decision}}))
    assert response.status_code == 200, response.text
    applier.wait_ready("experiment", ["boosting-or-logistic"], 5)
    assert applier.status("experiment", "boosting-or-logistic")["decision"] == decision
    assert applier.status("experiment", "another") == {}


def test_a_demo_whose_experiment_has_ended_says_so_before_it_does_anything() -> None:
    run.require_undecided({})
    run.require_undecided({"phase": "Running", "conditions": []})
    decision = {"verdict": "Promote", "arm": "boosting", "reason": "boosting promoted by command"}
    with pytest.raises(RejectError, match=r"boosting-or-logistic has ended \(Promote: boosting promoted by command\)"):
        run.require_undecided({"phase": "Succeeded", "decision": decision})


def test_a_refused_object_stops_the_demo_with_the_servers_words(server: RunningServer, tmp_path: Path) -> None:
    text = (run.SAMPLES / "experiment.yaml").read_text().replace("weight: 20", "weight: 120")
    bad = tmp_path / "bad.yaml"
    bad.write_text(text)
    with pytest.raises(ReportError, match="weight"):
        Applier(server.kubeconfig, lambda _: None).apply(bad)
