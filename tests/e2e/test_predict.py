"""/predict joins features by entity: what is served is what was materialized, and what is missing is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builders import feature_view, model_deployment
from tests.e2e.conftest import ClusterUnderTest, in_namespace
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.mesh import ServiceClient
from tests.e2e.test_feature_view import write_events
from tests.onnx_models import write_linear

REFS = ["stats:amount", "stats:visits"]


@pytest.fixture(scope="module")
def kubectl(target: ClusterUnderTest) -> Iterator[Kubectl]:
    with in_namespace(target) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def service(target: ClusterUnderTest, kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> ServiceClient:
    folder = tmp_path_factory.mktemp("predict")
    uri = f"file://{write_linear(folder / 'model.onnx')}"
    kubectl.apply(
        feature_view("stats", write_events(folder / "events")).build(),
        model_deployment("fraud", uri)
        .having("spec.features", {"refs": REFS, "input": "features", "onMissing": "fail"})
        .build(),
    )
    kubectl.wait_ready("featureview", "stats")
    kubectl.wait_ready("modeldeployment", "fraud")
    service = ServiceClient(target.ingress_url, "fraud", kubectl.namespace)
    eventually(lambda: service.post("/predict", {"entities": {"user_id": [1000]}}).status_code == 200)
    return service


def test_features_are_joined_by_entity_in_the_order_of_the_refs(service: ServiceClient) -> None:
    answer = service.post("/predict", {"entities": {"user_id": [1000, 1002]}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [[101.0], [105.0]]
    assert answer.json()["model"]["deployment"] == "fraud"


def test_an_unknown_entity_is_named_where_missing_values_fail(service: ServiceClient) -> None:
    answer = service.post("/predict", {"entities": {"user_id": [4711]}})
    assert answer.status_code in (400, 404)
    assert "4711" in answer.json()["error"]


@pytest.mark.parametrize(
    "body",
    [{}, {"entities": {"wrong": [1]}}, {"entities": {"user_id": ["abc"]}}, {"entities": [1]}, []],
    ids=["no entities", "another key", "wrong type", "a list", "no object"],
)
def test_a_wrong_body_is_refused_with_a_sentence(service: ServiceClient, body: object) -> None:
    answer = service.post("/predict", body)
    assert answer.status_code == 400
    assert answer.json()["error"]
