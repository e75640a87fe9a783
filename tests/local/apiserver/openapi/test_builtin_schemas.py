"""The schemas of the built-in kinds: current, complete, and agreeing with another validator."""

import gzip
import json
import subprocess
import sys
from importlib import resources
from typing import Any

import pytest

from millrace_core.base.errors import NotFoundError
from millrace_core.schema import Schema, compile_schema
from millrace_local.apiserver.openapi import builtin_schema
from millrace_local.apiserver.openapi.builtin import DATA_FILE, KUBERNETES_VERSION, definitions
from millrace_local.apiserver.openapi.generate import published, selected
from millrace_local.apiserver.resources import BUILTIN
from tests import kubernetes_peer

Obj = dict[str, Any]


def schema_of(obj: Obj) -> Schema:
    group, _, version = obj["apiVersion"].rpartition("/")
    return compile_schema(builtin_schema(group, version, obj["kind"]))


def test_the_packaged_file_is_what_the_generator_writes_and_small() -> None:
    data = resources.files("millrace_local.apiserver.openapi").joinpath(DATA_FILE).read_bytes()
    assert len(data) < 400_000
    assert json.loads(gzip.decompress(data)) == selected(published())


def test_every_served_kind_has_a_schema_with_descriptions() -> None:
    for row in BUILTIN:
        schema = builtin_schema(row.group, row.version, row.kind)
        assert schema["description"], row.kind
        assert (
            compile_schema(schema).validate({"apiVersion": row.api_version, "kind": row.kind, "metadata": {}})
            is not None
        )


def test_no_schema_refers_to_another_or_contains_itself() -> None:
    def depth(schema: Any) -> int:
        if isinstance(schema, list):
            return max(map(depth, schema), default=0)
        if not isinstance(schema, dict):
            return 0
        assert not isinstance(schema.get("$ref"), str)
        return 1 + max(map(depth, schema.values()), default=0)

    assert max(depth(builtin_schema(row.group, row.version, row.kind)) for row in BUILTIN) < 60


def test_an_unknown_kind_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="no built-in kind Gadget in the core group, version v1"):
        builtin_schema("", "v1", "Gadget")


def test_nothing_of_the_generator_s_sources_is_needed_at_run_time() -> None:
    code = (
        "import sys; import millrace_local.apiserver.openapi as o; o.builtin_schema('apps', 'v1', 'Deployment'); "
        "o.v3_document('apis/apps/v1', []); print([m for m in sys.modules if m.startswith('kubernetes')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


DEPLOYMENT: Obj = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "labels": {"a": "b"}},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"a": "b"}},
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "web",
                        "ports": [{"containerPort": 80}],
                        "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": "500m"}},
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                        "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
                    }
                ],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
            },
        },
    },
}
SAMPLES: list[Obj] = [
    DEPLOYMENT,
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "b"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"a": "b"}, "type": "Opaque"},
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]},
    },
    {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {
            "schedule": "*/5 * * * *",
            "jobTemplate": {"spec": {"template": DEPLOYMENT["spec"]["template"], "backoffLimit": 1}},
        },
    },
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "l"},
        "spec": {"holderIdentity": "x", "renewTime": "2026-01-01T00:00:00.000000Z", "leaseDurationSeconds": 15},
    },
    {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "p"},
        "spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}},
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
    {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 3},
    },
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "e"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True}}],
        "ports": [{"port": 80}],
    },
    {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "reason": "R",
        "message": "m",
        "type": "Normal",
    },
]


def peer_accepts(obj: Obj) -> bool:
    return kubernetes_peer.accepts(obj, KUBERNETES_VERSION.removeprefix("v").removesuffix(".0"))


def accepts(obj: Obj) -> bool:
    schema = schema_of(obj)
    copied = json.loads(json.dumps(obj))
    schema.default(copied)
    return not schema.prune(copied) and not schema.validate(copied)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_right_objects_pass_here_and_there(sample: Obj) -> None:
    assert (accepts(sample), peer_accepts(sample)) == (True, True)


def mutations(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything below the metadata and type of an object."""
    found = [path] if path and path[0] not in {"apiVersion", "kind"} else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [inner for key, item in entries for inner in mutations(item, (*path, key))]


def changed(obj: Obj, path: tuple[Any, ...], replacement: Any) -> Obj:
    copied: Obj = json.loads(json.dumps(obj))
    at: Any = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = replacement
    return copied


REPLACEMENTS = (True, "text", {"unknown-field": 1})


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["kind"])
def test_wrong_types_and_unknown_fields_are_refused_where_the_peer_refuses_them(sample: Obj) -> None:
    mutants = [
        changed(sample, path, REPLACEMENTS[index % len(REPLACEMENTS)])
        for index, path in enumerate(mutations(sample))
        if "template" not in path[:-1] or sample is DEPLOYMENT
    ]
    refused = [mutant for mutant in mutants if not peer_accepts(mutant)]
    assert len(refused) > len(mutants) // 3
    assert [mutant for mutant in refused if accepts(mutant)] == []


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "template", "spec", "containers"), None, "spec.template.spec.containers: Required value"),
        (
            ("spec", "replicas"),
            "2",
            'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string"',
        ),
        (
            ("spec", "template", "spec", "containers", 0, "resources", "limits", "cpu"),
            "much",
            'spec.template.spec.containers[0].resources.limits.cpu: Invalid value: "much": '
            "spec.template.spec.containers[0].resources.limits.cpu in body should match "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ],
)
def test_faults_of_built_in_kinds_read_like_all_others(path: tuple[Any, ...], value: Any, message: str) -> None:
    obj = changed(DEPLOYMENT, path, value)
    schema = schema_of(obj)
    schema.default(obj)
    assert [f"{fault.path}: {fault.message}" for fault in schema.validate(obj)] == [message]


def test_a_status_may_leave_out_what_a_real_server_fills_in() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [{"name": "a"}]}}
    status = {"containerStatuses": [{"name": "a", "ready": True}], "conditions": [{"type": "Ready", "status": "True"}]}
    assert accepts({**pod, "status": status})


def test_the_published_facts_of_lists_are_kept() -> None:
    containers = definitions()["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
