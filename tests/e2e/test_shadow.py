"""A Shadow through the mesh: clients are answered by the control alone, and the log has what the challenger said."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.sdk import shadows
from millrace_core.base.errors import NotFoundError
from millrace_data.evidence.comparing import Comparison
from tests.builders import canary, model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.load import Load
from tests.e2e.mesh import GrpcClient, ServiceClient
from tests.onnx_models import write_linear


@pytest.mark.slow
def test_copies_reach_the_challenger_under_the_ids_of_their_requests_and_nobody_gets_its_answers(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    log = {"uri": lake.as_uri()}
    for number in (1, 2):
        model = write_linear(tmp_path / f"{number}.onnx", factor=number)
        built = model_deployment(f"v{number}", f"file://{model}", "ranking")
        kubectl.apply(built.having("spec.inference", {"log": log}).build())
        kubectl.wait_ready("modeldeployment", f"v{number}")
    live = ServiceClient(target.ingress_url, "ranking", kubectl.namespace)
    eventually(lambda: live.infer().status_code == 200)
    steps = [{"weight": 100, "hold": "10s"}]
    copy = canary("copy", "ranking", "v1", "v2", steps).having("spec.type", "Shadow")
    kubectl.apply(copy.having("spec.routing", {"settle": "500ms"}).build())

    def phase(wanted: str) -> None:
        eventually(lambda: kubectl.get("experiment", "copy").get("status", {}).get("phase") == wanted, 60)

    phase("Running")
    with Load(target.ingress_url, "ranking", kubectl.namespace, connections=2, pause=0.02) as load:
        assert live.served_by(20, **{"x-millrace-arm": "challenger"}) == {"v1": 20}
        assert live.infer(**{"x-request-id": "by-http"}).status_code == 200
        grpc = GrpcClient(target.ingress_url, live, 8081)
        assert grpc.served_by(5) == {"v1": 5}
        phase("Succeeded")
    assert load.failures == {}
    assert set(load.answers) == {3.0}
    assert kubectl.get("experiment", "copy")["status"]["decision"]["verdict"] == "Pass"

    def compared() -> Comparison | None:
        try:
            return shadows.compare("ranking", "v1", "v2", namespace=kubectl.namespace, lake=lake)
        except NotFoundError:  # it takes up to a minute into the lake
            return None

    found = eventually(lambda: (each := compared()) is not None and each.requests > 20 and each, 120)
    assert (found.control.failed, found.shadow.failed) == (0.0, 0.0)
    [output] = found.outputs
    assert (output.agreement, output.mean_difference) == (0.0, 3.0)


@pytest.mark.slow
def test_a_challenger_that_says_something_else_is_found_in_the_log_and_fails(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    for number in (1, 2):
        model = write_linear(tmp_path / f"{number}.onnx", factor=number)
        built = model_deployment(f"v{number}", f"file://{model}", "ranking").having("spec.inference", {"log": {}})
        kubectl.apply(built.build())
        kubectl.wait_ready("modeldeployment", f"v{number}")
    live = ServiceClient(target.ingress_url, "ranking", kubectl.namespace)
    eventually(lambda: live.infer().status_code == 200)
    same = {"comparison": {"output": "output", "measure": "agreement"}}
    metrics = [{"name": "same", "role": "guardrail", "abortBelow": 0.9, "source": same}]
    copy = canary("copy", "ranking", "v1", "v2", [{"weight": 100, "hold": "1s"}]).having("spec.type", "Shadow")
    copy = copy.having("spec.metrics", metrics).having("spec.analysis", {"interval": "2s", "minUnits": 50})
    kubectl.apply(copy.having("spec.routing", {"settle": "500ms"}).build())
    eventually(lambda: kubectl.get("experiment", "copy").get("status", {}).get("phase") == "Running", 60)
    with Load(target.ingress_url, "ranking", kubectl.namespace, connections=1) as load:
        eventually(lambda: load.done > 500, 60)
    eventually(lambda: kubectl.get("experiment", "copy").get("status", {}).get("phase") == "Failed", 180)
    decision = kubectl.get("experiment", "copy")["status"]["decision"]
    assert decision["reason"] == "same of challenger is 0, below 0.9, at 2 looks in a row"
    assert load.failures == {}
