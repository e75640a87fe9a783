"""The demo, step by step; each step prints what it is about to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import Progress

from millrace import FeatureStore
from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import load_yaml
from millrace_core.api.modeldeployment import ModelDeployment
from millrace_core.base.errors import RejectError, ReportError
from millrace_core.features.offline.verify import VerifyReport
from millrace_local.demo import data, report, traffic, training
from millrace_local.demo.applier import Applier
from millrace_local.stack import LocalStack

SAMPLES = Path(__file__).parents[3] / "manifests" / "samples" / "breast-cancer"
# The samples read their data from here; the demo's copies of them read it from the demo's own folder.
SAMPLE_DATA = "/tmp/millrace-demo"  # noqa: S108 - a text in YAML, no file is made there
HOST = "breast-cancer.default.svc.cluster.local"
EXPERIMENT = "boosting-or-logistic"
CHALLENGER = "boosting"
CHALLENGER_SHARE = 0.2
REQUESTS = 3000
VERIFIED = 500
CONNECTIONS = 8
READY_SECONDS = 60.0


def run(stack: LocalStack, console: Console) -> bool:
    """Runs the demo on a stack that is up; returns whether every figure holds.

    Raises:
        MillraceError: a step failed; says which and what to do.
    """
    say, folder = _Say(console), stack.paths.root / "demo"
    samples, applier = write_samples(folder), Applier(stack.kubeconfig, say)
    require_undecided(applier.status("experiment", EXPERIMENT))
    say("[bold]1. Data[/]: scikit-learn's breast-cancer measurements as timestamped events in Parquet")
    demo_data = data.write(folder)
    say(f"{demo_data.patients} patients, {demo_data.events:,} events in {folder}")

    say("[bold]2. Features[/]: two FeatureViews, materialized to the online store")
    views = samples / "feature-views.yaml"
    applier.apply(views)

    say("[bold]3. Training set[/]: point-in-time correct, from the same YAML")
    refs = model_refs()
    training_set = pull_training_set(views, demo_data.entities, refs)
    offline = train(training_set, refs, folder / "models", say)
    applier.wait_ready("featureview", [view.metadata["name"] for view in feature_views()], READY_SECONDS)
    skewed, verified = count_skew(stack, views, training_set, refs), check_skew(stack, views)
    say(f"online store against training set: {training_set.num_rows * len(refs):,} values, {skewed} differ")
    say(f"skew check: {verified.values:,} values of the online store recomputed, {verified.different} differ")

    say("[bold]4. Models[/]: two ModelDeployments of one service")
    applier.apply(samples / "model-deployments.yaml")
    applier.wait_ready("modeldeployment", ["logistic", "boosting"], READY_SECONDS)

    say("[bold]5. Experiment[/]: 80 to 20")
    applier.apply(samples / "experiment.yaml")
    applier.wait_ready("experiment", [EXPERIMENT], READY_SECONDS)

    say(f"[bold]6. Traffic[/]: {REQUESTS:,} predictions by patient id through the mesh, {CONNECTIONS} connections")
    result = send_traffic(stack.ingress_url, training_set, console)
    say("\n".join(f"[red]failed[/] {failure}" for failure in result.failures[:5]))

    figures = measure(result, training_set, offline, skewed, verified)
    console.print(report.table(figures))
    say("\n".join(f"[red]not what it has to be[/]: {figure}" for figure in figures.failures))
    console.print(next_steps(stack), highlight=False)
    return not figures.failures


def require_undecided(experiment: Mapping[str, Any]) -> None:
    """Checks that the demo's experiment, of which this is the status, may still split the traffic.

    Raises:
        RejectError: an earlier run's has ended, by a promote or abort command; a decision is final.
    """
    decision = experiment.get("decision")
    if decision:
        raise RejectError(
            f"its experiment {EXPERIMENT} has ended ({decision['verdict']}: {decision['reason']}), so that all traffic "
            "goes to one model and there is no share to measure",
            hint="Begin anew: millrace local down --purge, and then the demo again",
            reason="ExperimentEnded",
        )


class _Say:
    """Prints lines, each with the seconds since the demo began."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        for line in text.splitlines():
            self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {line}", highlight=False)


def write_samples(folder: Path) -> Path:
    """Writes the sample YAML with the demo's folder in place of its own; returns where it is."""
    written = folder / "yaml"
    written.mkdir(parents=True, exist_ok=True)
    for path in SAMPLES.glob("*.yaml"):
        text = path.read_text(encoding="utf-8").replace(f"file://{SAMPLE_DATA}/", f"{folder.as_uri()}/")
        (written / path.name).write_text(text, encoding="utf-8")
    return written


def feature_views() -> list[FeatureView]:
    text = (SAMPLES / "feature-views.yaml").read_text(encoding="utf-8")
    return [found for found in load_yaml(text) if isinstance(found, FeatureView)]


def model_refs() -> list[str]:
    """The features of the sample models, in their order."""
    text = (SAMPLES / "model-deployments.yaml").read_text(encoding="utf-8")
    [first, *_] = [found for found in load_yaml(text) if isinstance(found, ModelDeployment)]
    if first.spec.features is None:
        raise ReportError("the sample ModelDeployment names no features", field="spec.features.refs")
    return list(first.spec.features.refs)


def pull_training_set(views: Path, entities: pa.Table, refs: list[str]) -> pa.Table:
    """The entity frame with one column per feature, as known at the time of the diagnosis."""
    store = FeatureStore.from_files([views])
    return store.get_historical_features(entities, features=refs, timestamp_column="event_timestamp").to_arrow()


def train(training_set: pa.Table, refs: list[str], folder: Path, say: Callable[[str], None]) -> dict[str, np.ndarray]:
    """Trains the models and writes them; returns what each predicts for the training set's rows, from its file."""
    names = [ref.split(":")[1] for ref in refs]
    accuracy = training.train(training_set, names, folder)
    for name, value in accuracy.items():
        say(f"{name}: accuracy {value:.3f} on the fifth it did not see; {folder}/{name}.onnx")
    rows = training.matrix(training_set, names)
    return {name: training.predict_offline(folder / f"{name}.onnx", rows) for name in accuracy}


def count_skew(stack: LocalStack, views: Path, training_set: pa.Table, refs: list[str]) -> int:
    """The number of values in the online store that differ from the training set in any bit."""
    store = FeatureStore.from_files([views], online=stack.store_url)
    patients = training_set["patient_id"].to_pylist()
    online = store.get_online_features(
        features=refs, entity_rows=[{"patient_id": patient} for patient in patients]
    ).to_dict()
    names = [ref.split(":")[1] for ref in refs]
    return sum(
        int(np.count_nonzero(np.asarray(online[name], dtype=np.float64) != training_set[name].to_numpy()))
        for name in names
    )


def check_skew(stack: LocalStack, views: Path) -> VerifyReport:
    """The skew check of ``millrace features verify``, summed over both views."""
    store = FeatureStore.from_files([views], online=stack.store_url)
    total = VerifyReport()
    for view in store.feature_views:
        found = store.verify(view, VERIFIED, seed=7)
        total.rows += found.rows
        total.values += found.values
        total.different += found.different
    return total


def send_traffic(ingress: str, training_set: pa.Table, console: Console) -> traffic.TrafficResult:
    """Sends the requests, for patients drawn with a fixed seed, and shows a progress bar."""
    patients = np.random.default_rng(7).choice(training_set["patient_id"].to_numpy(), REQUESTS)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("requests", total=REQUESTS)
        update: Callable[[int], None] = lambda done: progress.update(task, completed=done)  # noqa: E731
        return asyncio.run(traffic.send(ingress, HOST, [int(p) for p in patients], CONNECTIONS, update))


def measure(
    result: traffic.TrafficResult,
    training_set: pa.Table,
    offline: dict[str, np.ndarray],
    skewed: int,
    verified: VerifyReport,
) -> report.DemoFigures:
    """Compares the served probabilities with those of the exported models on the training set."""
    rows = {patient: row for row, patient in enumerate(training_set["patient_id"].to_pylist())}
    differences = [
        abs(served - offline[deployment][rows[patient]])
        for served, deployment, patient in zip(result.probabilities, result.deployments, result.patients, strict=True)
    ]
    return report.DemoFigures(
        requests=REQUESTS,
        failed=len(result.failures),
        expected_share=CHALLENGER_SHARE,
        measured_share=result.share(CHALLENGER),
        difference=float(max(differences, default=np.inf)),
        seconds=tuple(result.seconds),
        skewed=skewed,
        verified=verified.values,
        mismatched=verified.different,
    )


def next_steps(stack: LocalStack) -> str:
    """What to try next."""
    return f"""
The platform is still up. Go on with:

  export KUBECONFIG={stack.kubeconfig}
  kubectl get millrace
  kubectl describe experiment {EXPERIMENT}
  kubectl get pods -o wide
  kubectl annotate experiment {EXPERIMENT} --overwrite millrace.dev/command="1:promote boosting"
  curl -s -H 'Host: {HOST}' {stack.ingress_url}/predict \\
    --json '{{"entities": {{"patient_id": [1001]}}}}'
  .venv/bin/millrace local down
"""
