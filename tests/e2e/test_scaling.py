"""The number of pods: set by kubectl, and by a scaler under load, without a failed request."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.builders import model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import BackgroundLoad, ServiceClient
from tests.onnx_models import write_busy, write_linear


@pytest.mark.slow
def test_kubectl_scale_sets_the_number_of_pods_and_is_refused_where_a_scaler_does(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    deployment = model_deployment("fraud", f"file://{write_linear(tmp_path / 'model.onnx')}")
    kubectl.apply(deployment.build())
    kubectl.wait_ready("modeldeployment", "fraud")
    kubectl.run("scale", "md", "fraud", "--replicas=2")
    eventually(lambda: kubectl.get("md", "fraud")["status"]["replicas"] == {"ready": 2, "desired": 2}, 60)
    assert kubectl.get("md", "fraud")["spec"]["replicas"] == 2
    refused = kubectl.run("scale", "md", "fraud", "--replicas=0", check=False)
    assert "spec.replicas" in refused.stderr
    kubectl.run(
        *("patch", "md", "fraud", "--type=merge"),
        *("-p", '{"spec": {"replicas": null, "scaling": {"min": 1, "max": 3}}}'),
    )
    refused = kubectl.run("scale", "md", "fraud", "--replicas=3", check=False)
    assert "change its min and max instead" in refused.stderr


@pytest.mark.slow
def test_pods_come_under_load_and_go_after_it_without_a_failed_request(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    scaling = {"min": 1, "max": 2, "metric": "inFlight", "target": 2, "scaleDownDelay": "5s"}
    uri = f"file://{write_busy(tmp_path / 'model.onnx')}"
    kubectl.apply(model_deployment("fraud", uri).having("spec.scaling", scaling).build())
    kubectl.wait_ready("modeldeployment", "fraud")
    service = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    eventually(lambda: service.infer().status_code == 200)

    def pods(count: int) -> bool:
        replicas = {"ready": count, "desired": count}
        return bool(
            kubectl.get("md", "fraud")["status"]["replicas"] == replicas
            and len(kubectl.list("pods", "millrace.dev/deployment=fraud")) == count
        )

    with ExitStack() as running:
        one = running.enter_context(BackgroundLoad(service, pause=0))
        with ExitStack() as more:
            others = [more.enter_context(BackgroundLoad(service, pause=0)) for _ in range(3)]
            eventually(lambda: pods(2), 60)
        eventually(lambda: pods(1), 60)
    assert [failure for load in (one, *others) for failure in load.failures] == []
    assert sum(one.answers.values()) > 0
    assert kubectl.condition("md", "fraud", "ScalerReady")["status"] == "True"
