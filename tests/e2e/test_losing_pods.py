"""Pods are killed and stopped, and a model is replaced, under load through the mesh: no request fails.

``benchmarks/serving_load.py`` is the long form.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.builders import model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.load import Load, signal_pod
from tests.onnx_models import write_linear

PODS = "millrace.dev/deployment=fraud"


def restarts(pod: dict[str, Any]) -> int:
    return sum(int(each["restartCount"]) for each in pod["status"].get("containerStatuses", ()))


@pytest.mark.slow
def test_pods_that_are_killed_or_stopped_or_replaced_cost_no_request(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    models = [write_linear(tmp_path / f"{factor}.onnx", factor=factor) for factor in (1, 2)]

    def deploy(model: Path) -> None:
        kubectl.apply(model_deployment("fraud", f"file://{model}").having("spec.replicas", 2).build())

    def two_ready() -> bool:
        status = kubectl.get("md", "fraud").get("status", {})
        return bool(status.get("replicas") == {"ready": 2, "desired": 2} and len(kubectl.list("pods", PODS)) == 2)

    deploy(models[0])
    eventually(two_ready, 90)
    eventually(lambda: kubectl.get("virtualservice", "fraud")["spec"]["http"][0]["retries"]["attempts"] == 2)
    revision = kubectl.get("md", "fraud")["status"]["revision"]
    load = Load(target.ingress_url, "fraud", kubectl.namespace, connections=4, pause=0.005)
    with load:
        eventually(lambda: load.done > 100)
        killed, stopped = kubectl.list("pods", PODS)
        signal_pod(killed, signal.SIGKILL)
        eventually(lambda: restarts(kubectl.get("pod", killed["metadata"]["name"])) == 1)
        eventually(two_ready)
        signal_pod(stopped, signal.SIGSTOP)
        try:
            seen = load.done
            eventually(lambda: load.done > seen + 100)
        finally:
            signal_pod(stopped, signal.SIGCONT)
        deploy(models[1])
        eventually(lambda: kubectl.get("md", "fraud")["status"]["revision"] != revision, 90)
        eventually(two_ready)
    assert load.failures == {}
    assert load.answers.keys() == {3.0, 6.0}
