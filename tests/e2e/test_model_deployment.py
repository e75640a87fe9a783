"""A ModelDeployment: serves, is replaced without a failed request, and refuses what it must not serve."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import Built, model_deployment
from tests.e2e.conftest import ClusterUnderTest, in_namespace
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import BackgroundLoad, ServiceClient
from tests.onnx_models import write_linear


def deployed(kubectl: Kubectl, target: ClusterUnderTest, built: Built, name: str = "fraud") -> ServiceClient:
    kubectl.apply(built.build())
    kubectl.wait_ready("modeldeployment", name)
    return ServiceClient(target.ingress_url, name, kubectl.namespace)


@dataclass(frozen=True)
class Served:
    """A deployment ``fraud`` that serves ``model``, for tests that leave it as it is."""

    kubectl: Kubectl
    service: ServiceClient
    model: Path


@pytest.fixture(scope="module")
def served(target: ClusterUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = write_linear(tmp_path_factory.mktemp("served") / "model.onnx")
    with in_namespace(target) as kubectl:
        service = deployed(kubectl, target, model_deployment("fraud", f"file://{model}"))
        eventually(lambda: service.infer().status_code == 200)
        yield Served(kubectl, service, model)


def test_the_first_ready_deployment_is_champion_and_answers_through_the_mesh(served: Served) -> None:
    assert served.service.output() == 3.0
    status = served.kubectl.get("md", "fraud")["status"]
    assert status["champion"] is True
    assert status["device"] == "cpu"
    assert status["model"]["digest"] == f"sha256:{hashlib.sha256(served.model.read_bytes()).hexdigest()}"
    assert status["model"]["bytes"] == served.model.stat().st_size
    version = hashlib.sha256(served.model.read_bytes()).hexdigest()[:8]
    assert status["model"]["version"] == version
    answer = served.service.infer()
    assert (answer.json()["model_version"], answer.headers["x-millrace-model-version"]) == (version, version)
    assert status["replicas"] == {"ready": 1, "desired": 1}


def test_a_start_warns_of_no_probe_that_waits_for_the_model(served: Served) -> None:
    warnings = [event["message"] for event in served.kubectl.list("events") if event["type"] == "Warning"]
    assert [message for message in warnings if "statuscode" in message or "no answer" in message] == []


def test_a_new_model_takes_over_under_load_without_one_failed_request(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    first = write_linear(tmp_path / "1.onnx", factor=1)
    second = write_linear(tmp_path / "2.onnx", factor=2)
    service = deployed(kubectl, target, model_deployment("fraud", f"file://{first}"))
    eventually(lambda: service.infer().status_code == 200)
    revision = kubectl.get("md", "fraud")["status"]["revision"]
    with BackgroundLoad(service) as load:
        kubectl.apply(model_deployment("fraud", f"file://{second}").build())
        eventually(lambda: kubectl.get("md", "fraud")["status"]["revision"] != revision, 60)
        eventually(lambda: len(kubectl.list("deployments", "millrace.dev/deployment=fraud")) == 1, 60)
        eventually(lambda: len(kubectl.list("pods", "millrace.dev/deployment=fraud")) == 1, 60)
    assert load.failures == []
    assert load.answers[3.0] > 0
    assert load.answers[6.0] > 0
    assert service.output() == 6.0


def test_a_replaced_file_is_served_by_no_pod_of_the_old_revision_and_by_a_new_one_on_command(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path
) -> None:
    model = write_linear(tmp_path / "model.onnx", factor=1)
    service = deployed(kubectl, target, model_deployment("fraud", f"file://{model}"))
    eventually(lambda: service.infer().status_code == 200)
    before = kubectl.get("md", "fraud")["status"]
    write_linear(model, factor=2)
    replaced = hashlib.sha256(model.read_bytes()).hexdigest()
    kubectl.apply(model_deployment("fraud", f"file://{model}").having("spec.scaling", {"min": 2, "max": 2}).build())
    condition = eventually(
        lambda: (found := kubectl.condition("md", "fraud", "ModelResolved")).get("status") == "False" and found, 60
    )
    assert condition["reason"] == "ModelReplaced"
    assert replaced in condition["message"]
    assert before["model"]["digest"] in condition["message"]
    assert {service.output() for _ in range(20)} == {3.0}
    assert kubectl.get("md", "fraud")["status"]["revision"] == before["revision"]
    kubectl.run("annotate", "md", "fraud", "millrace.dev/command=1:restart")
    eventually(lambda: kubectl.get("md", "fraud")["status"]["model"]["version"] == replaced[:8], 60)
    kubectl.wait_ready("modeldeployment", "fraud")
    eventually(lambda: service.output() == 6.0, 60)


def test_a_change_of_scale_makes_no_new_revision(target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path) -> None:
    uri = f"file://{write_linear(tmp_path / 'model.onnx')}"
    deployed(kubectl, target, model_deployment("fraud", uri))
    revision = kubectl.get("md", "fraud")["status"]["revision"]
    scaled = model_deployment("fraud", uri).having("spec.scaling", {"min": 2, "max": 2})
    kubectl.apply(scaled.build())
    eventually(lambda: kubectl.get("md", "fraud")["status"]["replicas"] == {"ready": 2, "desired": 2}, 60)
    assert kubectl.get("md", "fraud")["status"]["revision"] == revision


def bad_models(tmp_path: Path) -> dict[str, tuple[Built, list[str]]]:
    good = write_linear(tmp_path / "good.onnx")
    corrupt = tmp_path / "corrupt.onnx"
    corrupt.write_bytes(b"this is no model" * 20)
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(good.read_bytes()[:-40])
    digest = "sha256:" + "0" * 64
    return {
        "missing": (model_deployment("fraud", "file:///no/such/model.onnx"), ["/no/such/model.onnx"]),
        "corrupt": (model_deployment("fraud", f"file://{corrupt}"), ["corrupt.onnx"]),
        "truncated": (model_deployment("fraud", f"file://{truncated}"), ["truncated.onnx"]),
        "digest": (
            model_deployment("fraud", f"file://{good}").having("spec.model.digest", digest),
            ["digest", "0000"],
        ),
    }


@pytest.mark.parametrize("case", ["missing", "corrupt", "truncated", "digest"])
def test_a_bad_model_never_serves_and_the_old_one_stays(served: Served, tmp_path: Path, case: str) -> None:
    kubectl = served.kubectl
    bad, words = bad_models(tmp_path)[case]
    kubectl.apply(bad.build())
    try:
        condition = eventually(
            lambda: (found := kubectl.condition("md", "fraud", "ModelResolved")).get("status") == "False" and found,
            60,
        )
        for word in words:
            assert word in condition["message"]
        assert kubectl.condition("md", "fraud", "Ready")["status"] == "False"
        assert served.service.output() == 3.0
    finally:
        kubectl.apply(model_deployment("fraud", f"file://{served.model}").build())
        kubectl.wait_ready("modeldeployment", "fraud")


def test_an_unknown_feature_is_named(kubectl: Kubectl, tmp_path: Path) -> None:
    uri = f"file://{write_linear(tmp_path / 'model.onnx')}"
    kubectl.apply(
        model_deployment("fraud", uri).having("spec.features", {"refs": ["nothing:here"], "input": "features"}).build()
    )
    condition = eventually(
        lambda: (found := kubectl.condition("md", "fraud", "Accepted")).get("status") == "False" and found
    )
    assert "nothing" in condition["message"]


def test_wrong_requests_are_told_what_came_and_what_is_expected(served: Served) -> None:
    def refused(path: str, name: str, shape: list[int], datatype: str) -> tuple[int, str]:
        tensor = {"name": name, "shape": shape, "datatype": datatype, "data": [1.0, 2.0]}
        answer = served.service.post(path, {"inputs": [tensor]})
        return answer.status_code, answer.json()["error"]

    infer = "/v2/models/fraud/infer"
    status, message = refused(infer, "feature", [1, 2], "FP32")
    assert status == 400
    assert "feature" in message
    assert "features" in message
    status, message = refused(infer, "features", [1, 3], "FP32")
    assert status == 400
    assert "3" in message
    status, message = refused(infer, "features", [1, 2], "FP64")
    assert status == 400
    assert "FP64" in message
    assert "FP32" in message
    assert refused("/v2/models/nothing/infer", "features", [1, 2], "FP32")[0] == 404
    assert refused("/v2/models/fraud/versions/nothing/infer", "features", [1, 2], "FP32")[0] == 404


def test_deletion_leaves_no_child(target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path) -> None:
    uri = f"file://{write_linear(tmp_path / 'model.onnx')}"
    deployed(kubectl, target, model_deployment("fraud", uri))
    kubectl.run("delete", "md", "fraud", "--timeout=60s")
    revision = ("controllerrevisions", "configmaps", "deployments", "pods")
    for kind in (*revision, "services", "virtualservices", "destinationrules"):
        eventually(lambda kind=kind: kubectl.list(kind, "app.kubernetes.io/managed-by=millrace") == [], 60)
