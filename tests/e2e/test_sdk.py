"""The SDK against the running platform: what is online is what a training set says, by every way there is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
import yaml

from millrace import FeatureStore
from tests.builders import feature_view, model_deployment
from tests.e2e.conftest import ClusterUnderTest
from tests.e2e.kubectl import Kubectl, eventually
from tests.e2e.test_feature_view import write_events

REFS = ["stats:amount", "stats:visits"]
USERS = [1000, 1001, 1002]


def through_mesh(monkeypatch: pytest.MonkeyPatch, target: ClusterUnderTest) -> None:
    """In-cluster names resolve through the mesh, as they do for pods."""
    monkeypatch.setenv("http_proxy", target.ingress_url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_files_registry_and_cluster_agree_online_and_in_training(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = feature_view("stats", write_events(tmp_path / "events")).having("metadata.namespace", kubectl.namespace)
    kubectl.apply(document.build())
    kubectl.wait_ready("featureview", "stats")
    path = tmp_path / "stats.yaml"
    path.write_text(yaml.safe_dump(document.build()))

    through_mesh(monkeypatch, target)
    gateway, registry = "http://millrace-gateway.millrace-system.svc", "http://millrace-registry.millrace-system.svc"
    eventually(
        lambda: any(
            item["metadata"]["namespace"] == kubectl.namespace
            for item in httpx.get(f"{registry}/v1/definitions").json().get("featureViews", ())
        )
    )
    stores = {
        "files": FeatureStore.from_files([path], online=target.store_url, project=kubectl.namespace),
        "registry": FeatureStore.connect(registry, gateway, project=kubectl.namespace),
        "cluster": FeatureStore.from_cluster(target.kubeconfig, kubectl.namespace, gateway),
    }
    asked = pa.table({"user_id": USERS, "event_timestamp": [datetime(2026, 2, 1, tzinfo=UTC)] * 3})
    for name, store in stores.items():
        trained = store.get_historical_features(asked, REFS).to_arrow()
        online = store.get_online_features(REFS, [{"user_id": user} for user in USERS]).to_dict()
        for column in ("amount", "visits"):
            assert online[column] == trained[column].to_pylist(), name
    for name, store in stores.items():
        saved = store.get_historical_features(asked, REFS).save(tmp_path / "sets")
        assert saved.table.num_rows == len(USERS), name
    verdict = stores["files"].verify("stats", sample=100)
    assert verdict.rows
    assert verdict.clean
    recorded = httpx.get(f"{registry}/v1/datasets", params={"namespace": kubectl.namespace}).json()["items"]
    assert [each["id"] for each in recorded] == [saved.id]


def test_a_type_that_a_deployment_reads_is_not_changed_under_it(
    target: ClusterUnderTest, kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = feature_view("stats", write_events(tmp_path / "events"))
    kubectl.apply(view.build())
    kubectl.wait_ready("featureview", "stats")
    refs = {"refs": ["stats:amount"], "input": "x"}
    kubectl.apply(model_deployment("ranker").having("spec.features", refs).build())
    eventually(lambda: kubectl.get("modeldeployment", "ranker").get("status"))
    retyped = [{"name": "amount", "type": "float32"}, {"name": "visits", "type": "int64"}]
    kubectl.apply(view.having("spec.features", retyped).build())

    def refused() -> bool:
        accepted = kubectl.condition("featureview", "stats", "Accepted")
        return accepted["reason"] == "InUse" and "used by ranker" in accepted["message"]

    eventually(refused)
    through_mesh(monkeypatch, target)
    registry = "http://millrace-registry.millrace-system.svc"
    [kept] = [
        item
        for item in httpx.get(f"{registry}/v1/definitions").json()["featureViews"]
        if item["metadata"] == {"name": "stats", "namespace": kubectl.namespace}
    ]
    assert kept["spec"]["features"][0]["type"] == "float64", "the gateway goes on with what was accepted"
