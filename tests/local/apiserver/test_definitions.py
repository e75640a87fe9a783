"""Custom resources: from the definition to objects that are checked, filled in and pruned by it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.api_client import client_of
from tests.api_server import start
from tests.local.apiserver.conftest import REPOSITORY

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
MERGE = {"content-type": "application/merge-patch+json"}
REAL = REPOSITORY.parent / "shared" / "crds"
SMALL = REPOSITORY / "local" / "millrace_local" / "apiserver" / "thirdparty"
_numbers = itertools.count(1)

SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "replicas": {"type": "integer"},
        "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]},
        "max": {"type": "integer", "default": 9},
    },
    "x-kubernetes-validations": [{"rule": "self.size <= self.max", "message": "size must not pass max"}],
}
STATUS = {
    "type": "object",
    "properties": {"ready": {"type": "boolean"}, "replicas": {"type": "integer"}, "selector": {"type": "string"}},
}


@pytest.fixture
def group(http: httpx.Client) -> Iterator[str]:
    """A group of the test's own; its CRD goes with it."""
    name = f"g{next(_numbers)}.example.dev"
    yield name
    http.delete(f"{CRDS}/widgets.{name}")


def definition(group: str) -> dict[str, Any]:
    """A CRD of one version with all that a version can have."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
            {"name": "Ready", "type": "boolean", "jsonPath": ".status.ready"},
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        ],
        "selectableFields": [{"jsonPath": ".spec.colour"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": SPEC, "status": STATUS}}},
    }
    names = {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"], "categories": ["all"]}
    return {
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture
def widgets(http: httpx.Client, group: str, namespace: str) -> str:
    """The path of the test's widgets."""
    http.post(CRDS, json=definition(group)).raise_for_status()
    return f"/apis/{group}/v1/namespaces/{namespace}/widgets"


def widget(name: str = "w", **spec: Any) -> dict[str, Any]:
    """A widget."""
    return {"metadata": {"name": name}, "spec": {"size": 3, **spec}}


def causes(answer: httpx.Response) -> dict[str, str]:
    """The faulty fields of a 422, each with its message."""
    assert answer.status_code == 422, answer.text
    return {cause["field"]: cause["message"] for cause in answer.json()["details"]["causes"]}


def test_a_definition_is_established_at_once(http: httpx.Client, group: str) -> None:
    made = http.post(CRDS, json=definition(group)).json()
    assert {c["type"]: c["status"] for c in made["status"]["conditions"]} == {
        "NamesAccepted": "True",
        "Established": "True",
    }
    assert made["status"]["acceptedNames"]["listKind"] == "WidgetList"
    assert made["status"]["storedVersions"] == ["v1"]
    listed = http.get(f"/apis/{group}/v1").json()["resources"]
    assert [row["name"] for row in listed] == ["widgets", "widgets/scale", "widgets/status"]


def test_objects_are_filled_in_pruned_and_checked(http: httpx.Client, widgets: str) -> None:
    made = http.post(widgets, json=widget(extra=1)).json()
    assert made["spec"] == {"size": 3, "colour": "red", "max": 9}
    assert made["metadata"]["generation"] == 1
    assert "Required value" in causes(http.post(widgets, json={"metadata": {"name": "a"}, "spec": {}}))["spec.size"]
    assert "less than or equal to 9" in causes(http.post(widgets, json=widget("b", size=10)))["spec.size"]
    assert (
        'supported values: "red", "blue"' in causes(http.post(widgets, json=widget("c", colour="green")))["spec.colour"]
    )
    assert "size must not pass max" in causes(http.post(widgets, json=widget("d", size=5, max=4)))["spec"]
    assert "must be of type integer" in causes(http.post(widgets, json=widget("e", size="x")))["spec.size"]
    strict = http.post(widgets, json=widget("f", extra=1), params={"fieldValidation": "Strict"})
    assert strict.json()["message"] == 'strict decoding error: unknown field "spec.extra"'


def test_status_is_a_subresource_and_never_set_on_create(http: httpx.Client, widgets: str) -> None:
    made = http.post(widgets, json={**widget(), "status": {"ready": True}}).json()
    assert "status" not in made
    patched = http.patch(
        f"{widgets}/w/status", json={"status": {"ready": True}, "spec": {"size": 9}}, headers=MERGE
    ).json()
    assert (patched["status"], patched["spec"]["size"], patched["metadata"]["generation"]) == ({"ready": True}, 3, 1)
    kept = http.patch(f"{widgets}/w", json={"status": {"ready": False}}, headers=MERGE).json()
    assert kept["status"] == {"ready": True}


def test_scale_goes_through_the_declared_paths(http: httpx.Client, widgets: str) -> None:
    http.post(widgets, json=widget(replicas=2)).raise_for_status()
    http.patch(f"{widgets}/w/status", json={"status": {"replicas": 1, "selector": "a=b"}}, headers=MERGE)
    scale = http.get(f"{widgets}/w/scale").json()
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    http.put(f"{widgets}/w/scale", json={**scale, "spec": {"replicas": 5}}).raise_for_status()
    assert http.get(f"{widgets}/w").json()["spec"]["replicas"] == 5
    assert http.put(f"{widgets}/w/scale", json={**scale, "spec": {"replicas": 6}}).status_code == 409
    assert "spec.replicas" in causes(http.patch(f"{widgets}/w/scale", json={"spec": {"replicas": -1}}, headers=MERGE))


def test_scale_of_an_object_that_states_no_replicas_can_be_set_and_not_read(http: httpx.Client, widgets: str) -> None:
    http.post(widgets, json=widget()).raise_for_status()
    unread = http.get(f"{widgets}/w/scale")
    assert (unread.status_code, unread.json()["reason"]) == (500, "InternalError")
    assert 'the spec replicas field ".spec.replicas" does not exist' in unread.json()["message"]
    assert http.patch(f"{widgets}/w/scale", json={}, headers=MERGE).status_code == 400
    assert "replicas" not in http.get(f"{widgets}/w").json()["spec"]
    for number in (0, 3):
        set_to = http.patch(f"{widgets}/w/scale", json={"spec": {"replicas": number}}, headers=MERGE)
        assert set_to.json()["spec"] == http.get(f"{widgets}/w/scale").json()["spec"] == {"replicas": number}


def test_columns_and_selectable_fields(http: httpx.Client, widgets: str) -> None:
    http.post(widgets, json=widget("red")).raise_for_status()
    http.post(widgets, json=widget("blue", colour="blue")).raise_for_status()
    table = http.get(widgets, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()
    assert [(c["name"], c["priority"]) for c in table["columnDefinitions"]] == [
        ("Name", 0),
        ("Size", 0),
        ("Colour", 1),
        ("Ready", 0),
        ("Age", 0),
    ]
    assert [row["cells"][:4] for row in table["rows"]] == [["blue", 3, "blue", None], ["red", 3, "red", None]]
    chosen = http.get(widgets, params={"fieldSelector": "spec.colour=blue"}).json()["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["blue"]


def test_strategic_patches_are_for_built_in_kinds(http: httpx.Client, widgets: str) -> None:
    http.post(widgets, json=widget()).raise_for_status()
    headers = {"content-type": "application/strategic-merge-patch+json"}
    assert http.patch(f"{widgets}/w", json={"spec": {"size": 4}}, headers=headers).status_code == 415


def test_server_side_apply_of_a_custom_resource(http: httpx.Client, widgets: str, group: str) -> None:
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", **widget(colour="blue")}
    headers = {"content-type": "application/apply-patch+yaml"}
    created = http.patch(f"{widgets}/w", json=body, headers=headers, params={"fieldManager": "one"})
    assert created.status_code == 201
    other = {**body, "spec": {"size": 4}}
    conflict = http.patch(f"{widgets}/w", json=other, headers=headers, params={"fieldManager": "two"})
    assert conflict.status_code == 409
    assert conflict.json()["details"]["causes"][0]["field"] == ".spec.size"
    forced = http.patch(f"{widgets}/w", json=other, headers=headers, params={"fieldManager": "two", "force": "true"})
    assert (forced.json()["spec"]["size"], forced.json()["spec"]["colour"]) == (4, "blue")
    assert http.patch(f"{widgets}/w", json=other, headers=headers).status_code == 400
    misnamed = http.patch(
        f"{widgets}/w", json={**body, "kind": "Gadget"}, headers=headers, params={"fieldManager": "one"}
    )
    assert "kind: an apply patch to this resource must say" in misnamed.json()["message"]


def test_server_side_apply_of_the_status(http: httpx.Client, widgets: str, group: str) -> None:
    http.post(widgets, json=widget()).raise_for_status()
    body = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "status": {"ready": True}}
    headers = {"content-type": "application/apply-patch+yaml"}
    query = {"fieldManager": "prober", "force": "true"}
    applied = http.patch(f"{widgets}/w/status", json=body, headers=headers, params=query).raise_for_status().json()
    assert applied["status"] == {"ready": True}
    mine = [entry for entry in applied["metadata"]["managedFields"] if entry["manager"] == "prober"]
    assert [(entry["operation"], entry["subresource"]) for entry in mine] == [("Apply", "status")]
    again = http.patch(f"{widgets}/w/status", json=body, headers=headers, params=query).json()
    assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]
    late = http.patch(
        f"{widgets}/none/status", json={**body, "metadata": {"name": "none"}}, headers=headers, params=query
    )
    assert late.status_code == 404


def test_versions_share_their_objects(http: httpx.Client, group: str, namespace: str) -> None:
    both = definition(group)
    old = copy.deepcopy(both["spec"]["versions"][0])
    old.update(name="v1beta1", storage=False)
    both["spec"]["versions"].append(old)
    http.post(CRDS, json=both).raise_for_status()
    path = f"namespaces/{namespace}/widgets"
    http.post(f"/apis/{group}/v1beta1/{path}", json={"apiVersion": f"{group}/v1beta1", **widget()}).raise_for_status()
    assert http.get(f"/apis/{group}/v1/{path}/w").json()["apiVersion"] == f"{group}/v1"
    listed = http.get(f"/apis/{group}/v1beta1/{path}").json()
    assert listed["items"][0]["apiVersion"] == f"{group}/v1beta1"
    both["spec"]["versions"][1]["served"] = False
    http.patch(f"{CRDS}/widgets.{group}", json={"spec": both["spec"]}, headers=MERGE).raise_for_status()
    assert http.get(f"/apis/{group}/v1beta1/{path}").status_code == 404


def test_a_changed_schema_holds_for_the_next_write(http: httpx.Client, widgets: str, group: str) -> None:
    http.post(widgets, json=widget()).raise_for_status()
    changed = definition(group)["spec"]
    properties = changed["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    properties["spec"] = {**SPEC, "properties": {**SPEC["properties"], "shape": {"type": "string", "default": "round"}}}
    http.patch(f"{CRDS}/widgets.{group}", json={"spec": changed}, headers=MERGE).raise_for_status()
    assert http.post(widgets, json=widget("new")).json()["spec"]["shape"] == "round"


def test_a_definition_takes_its_objects_with_it(
    http: httpx.Client, widgets: str, group: str, eventually: Callable[..., Any]
) -> None:
    held = widget()
    held["metadata"]["finalizers"] = ["a.dev/slow"]
    http.post(widgets, json=held).raise_for_status()
    http.delete(f"{CRDS}/widgets.{group}").raise_for_status()
    eventually(lambda: "deletionTimestamp" in http.get(f"{widgets}/w").json()["metadata"])
    assert http.post(widgets, json=widget("late")).status_code == 405
    http.patch(f"{widgets}/w", json={"metadata": {"finalizers": None}}, headers=MERGE).raise_for_status()
    eventually(lambda: http.get(f"{CRDS}/widgets.{group}").status_code == 404)
    assert http.get(widgets).status_code == 404
    http.post(CRDS, json=definition(group)).raise_for_status()
    assert http.get(widgets).json()["items"] == []


def _change(spec: dict[str, Any], path: str, value: Any) -> None:
    *holders, last = path.split(".")
    node: Any = spec
    for part in holders:
        node = node[int(part)] if part.isdigit() else node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("scope", "Everywhere", "spec.scope"),
        ("names.plural", "gadgets", "metadata.name"),
        ("versions.0.storage", False, "spec.versions"),
        ("versions.0.schema", None, "spec.versions[0].schema.openAPIV3Schema"),
        (
            "versions.0.schema.openAPIV3Schema.properties.spec.type",
            None,
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
        ),
        ("versions.0.additionalPrinterColumns.0.type", "colour", "spec.versions[0].additionalPrinterColumns[0].type"),
        (
            "versions.0.additionalPrinterColumns.0.jsonPath",
            "[[",
            "spec.versions[0].additionalPrinterColumns[0].jsonPath",
        ),
        (
            "versions.0.subresources.scale.specReplicasPath",
            ".replicas",
            "spec.versions[0].subresources.scale.specReplicasPath",
        ),
        ("conversion", {"strategy": "Webhook"}, "spec.conversion.strategy"),
        ("preserveUnknownFields", True, "spec.preserveUnknownFields"),
    ],
)
def test_a_definition_that_kubernetes_would_refuse_is_refused(
    http: httpx.Client, group: str, path: str, value: Any, field: str
) -> None:
    wrong = copy.deepcopy(definition(group))
    _change(wrong["spec"], path, value)
    assert field in causes(http.post(CRDS, json=wrong))
    assert http.get(f"{CRDS}/widgets.{group}").status_code == 404


def test_what_names_a_definition_never_changes(http: httpx.Client, widgets: str, group: str) -> None:
    changed = http.patch(f"{CRDS}/widgets.{group}", json={"spec": {"scope": "Cluster"}}, headers=MERGE)
    assert causes(changed) == {"spec.scope": 'Invalid value: "Cluster": field is immutable'}


def test_names_that_are_taken_are_not_accepted(http: httpx.Client, widgets: str, group: str) -> None:
    second = definition(group)
    second["metadata"]["name"] = f"gadgets.{group}"
    second["spec"]["names"]["plural"] = "gadgets"
    made = http.post(CRDS, json=second).json()
    assert {c["type"]: c["status"] for c in made["status"]["conditions"]} == {
        "NamesAccepted": "False",
        "Established": "False",
    }
    assert http.get(f"/apis/{group}/v1/gadgets").status_code == 404
    http.delete(f"{CRDS}/gadgets.{group}")


SAMPLES = [
    """
    apiVersion: keda.sh/v1alpha1
    kind: ScaledObject
    metadata: {name: s}
    spec:
      scaleTargetRef: {name: web}
      minReplicaCount: 1
      maxReplicaCount: 5
      triggers: [{type: prometheus, metadata: {serverAddress: "http://prometheus:9090", query: up, threshold: "5"}}]
    """,
    """
    apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: v}
    spec:
      hosts: [web.default.svc.cluster.local]
      http:
      - match: [{headers: {x-arm: {exact: b}}}]
        route: [{destination: {host: web, subset: b}}]
      - route:
        - {destination: {host: web, subset: a}, weight: 80}
        - {destination: {host: web, subset: b}, weight: 20}
    """,
    """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: d}
    spec: {host: web, subsets: [{name: a, labels: {v: a}}, {name: b, labels: {v: b}}]}
    """,
    """
    apiVersion: gateway.networking.k8s.io/v1
    kind: HTTPRoute
    metadata: {name: h}
    spec:
      hostnames: [web.example.com]
      rules: [{backendRefs: [{name: web, port: 80, weight: 3}]}]
    """,
    """
    apiVersion: monitoring.coreos.com/v1
    kind: ServiceMonitor
    metadata: {name: m}
    spec: {selector: {matchLabels: {a: b}}, endpoints: [{port: http, path: /metrics, interval: 15s}]}
    """,
]
RESOURCES = {
    "ScaledObject": "scaledobjects",
    "VirtualService": "virtualservices",
    "DestinationRule": "destinationrules",
    "HTTPRoute": "httproutes",
    "ServiceMonitor": "servicemonitors",
}


@pytest.mark.parametrize("folder", [REAL, SMALL], ids=["real", "small"])
def test_third_party_kinds_are_taken_with_the_real_schemas_and_with_the_small(tmp_path: Path, folder: Path) -> None:
    if not folder.is_dir():
        pytest.skip("the real CRDs are not on this machine")
    server = start(tmp_path, kubeconfig=tmp_path / "kubeconfig", crds=[folder, REPOSITORY / "crds"])
    try:
        with client_of(server) as http:
            for sample in map(yaml.safe_load, SAMPLES):
                path = f"/apis/{sample['apiVersion']}/namespaces/default/{RESOURCES[sample['kind']]}"
                made = http.post(path, json=sample, params={"fieldValidation": "Strict"})
                assert made.status_code == 201, made.text
                assert http.post(path, json={**sample, "metadata": {"name": "x"}, "spec": 3}).status_code == 422
    finally:
        server.stop()
