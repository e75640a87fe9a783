"""The Helm chart: linted, rendered by the real Helm, each object valid Kubernetes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_kube import resources as r
from millrace_kube.watched import WATCHED
from millrace_operators.operator.settings import OperatorSettings
from millrace_services.gateway.settings import GatewaySettings
from millrace_services.registry.settings import RegistrySettings
from tests import kubernetes_peer
from tests.operators import golden

helm = pytest.importorskip("helm_python")

CHART = Path(__file__).parents[2] / "charts" / "millrace"
STORE = {"store": {"url": "redis://store:6379"}}
SETTINGS = {
    f"millrace-{name}": {field.alias for field in settings.model_fields.values()}
    for name, settings in (("operator", OperatorSettings), ("gateway", GatewaySettings), ("registry", RegistrySettings))
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": STORE,
    "existing secret": {"store": {"existingSecret": "mine"}},
    "postgres": {**STORE, "registry": {"databaseUrl": "postgresql+psycopg://db/registry"}},
    "monitoring": {**STORE, "monitoring": {"enabled": True, "labels": {"release": "prometheus"}}},
    "prometheus": {**STORE, "operator": {"prometheusUrl": "http://prometheus:9090"}},
}


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(values)
        manifests = chart.render(values, name="millrace", namespace="millrace-system")
    joined = "\n---\n".join(text for path, text in manifests.items() if path.endswith(".yaml"))
    return [document for document in yaml.safe_load_all(joined) if isinstance(document, dict)]


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_rendered_object_is_valid_kubernetes(values: dict[str, Any]) -> None:
    documents = rendered(values)
    assert {"Deployment", "Service", "ClusterRole"} <= {document["kind"] for document in documents}
    for document in documents:
        if document["kind"] != "ServiceMonitor":
            kubernetes_peer.check(document, "1.30")


def test_service_monitors_select_the_services_that_there_are() -> None:
    documents = rendered(VARIANTS["monitoring"])
    services = [document for document in documents if document["kind"] == "Service"]
    monitors = [document for document in documents if document["kind"] == "ServiceMonitor"]
    assert [monitor["metadata"]["name"] for monitor in monitors] == [
        "millrace-operator",
        "millrace-registry",
        "millrace-gateway",
    ]
    for monitor in monitors:
        golden.check_schema(monitor)
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        [service] = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        assert [port["name"] for port in service["spec"]["ports"]] == [monitor["spec"]["endpoints"][0]["port"]]
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert "ServiceMonitor" not in {document["kind"] for document in rendered(STORE)}


def test_every_image_is_of_one_release_and_named_by_what_it_runs() -> None:
    documents = rendered({**STORE, "image": {"repository": "registry.example/ml/millrace", "tag": "9"}})
    containers = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]
        for document in documents
        if document["kind"] == "Deployment"
    }
    images = {name: container["image"] for name, container in containers.items()}
    assert images == {
        f"millrace-{process}": f"registry.example/ml/millrace/{process}:9"
        for process in ("operator", "registry", "gateway")
    }
    environ = {one["name"]: one["value"] for one in containers["millrace-operator"]["env"] if "value" in one}
    assert {name: value for name, value in environ.items() if name.endswith("_IMAGE")} == {
        "MILLRACE_INFERENCE_IMAGE": "registry.example/ml/millrace/inference:9",
        "MILLRACE_GPU_IMAGE": "registry.example/ml/millrace/inference-gpu:9",
        "MILLRACE_MATERIALIZE_IMAGE": "registry.example/ml/millrace/materialize:9",
    }


def test_every_container_runs_a_module_that_there_is_with_settings_that_it_has() -> None:
    for document in rendered(STORE):
        if document["kind"] == "Deployment":
            [container] = document["spec"]["template"]["spec"]["containers"]
            python, option, module = container["command"]
            assert (python, option) == ("python", "-m")
            assert find_spec(f"{module}.__main__")
            assert {variable["name"] for variable in container["env"]} <= SETTINGS[document["metadata"]["name"]]


def test_a_chart_without_a_store_says_what_is_needed() -> None:
    with pytest.raises(helm.HelmError, match=r"store\.url or store\.existingSecret is needed"):
        rendered({})


def test_an_unknown_value_is_refused_rather_than_ignored() -> None:
    with pytest.raises(helm.HelmError, match="replicaCount"):
        rendered({**STORE, "gateway": {"replicaCount": 3}})


def test_an_existing_secret_is_used_and_none_is_made() -> None:
    documents = rendered(VARIANTS["existing secret"])
    assert not [document for document in documents if document["kind"] == "Secret"]
    [gateway] = [d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == "millrace-gateway"]
    environment = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
    [store] = [variable for variable in environment if variable["name"] == "MILLRACE_STORE_URL"]
    assert store["valueFrom"]["secretKeyRef"]["name"] == "mine"


def test_the_chart_passes_helm_lint() -> None:
    result = helm.lint(str(CHART), values=STORE)
    assert result["errors"] == []


def test_the_operator_may_do_what_it_does() -> None:
    [role] = [
        document
        for document in rendered(STORE)
        if document["kind"] == "ClusterRole" and document["metadata"]["name"] == "millrace-operator"
    ]
    may = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    made = WATCHED.keys() - {r.FEATURE_VIEWS, r.MODEL_DEPLOYMENTS, r.EXPERIMENTS, r.PODS, r.NODES}
    needed = {(one.group, one.plural, verb) for one in WATCHED for verb in ("get", "list", "watch")}
    needed |= {(one.group, one.plural, verb) for one in made for verb in ("create", "patch", "delete")}
    needed.add(("", "pods", "delete"))
    everything = {(group, verb) for group, resource, verb in may if resource == "*"}
    assert {one for one in needed - may if (one[0], one[2]) not in everything} == set()
