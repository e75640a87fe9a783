"""Real CRDs, of others and our own, compile within the cost limits and accept and refuse the right objects."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.schema import Schema, compile_schema

REPOSITORY = Path(__file__).parents[3]
FOREIGN = REPOSITORY.parent / "shared" / "crds"

needs_foreign = pytest.mark.skipif(not FOREIGN.is_dir(), reason=f"the CRDs of others are not at {FOREIGN}")


def versions(folder: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for file in sorted(folder.glob("*.yaml")):
        for crd in yaml.load_all(file.read_text(), yaml.CSafeLoader):
            for version in (crd or {"spec": {"versions": []}})["spec"]["versions"]:
                yield crd["spec"]["names"]["kind"], version["name"], version["schema"]["openAPIV3Schema"]


def compiled(folder: Path) -> dict[tuple[str, str], Schema]:
    return {(kind, version): compile_schema(schema) for kind, version, schema in versions(folder)}


@pytest.fixture(scope="module")
def foreign() -> dict[tuple[str, str], Schema]:
    return compiled(FOREIGN)


def test_our_own_kinds_compile_within_the_cost_bounds() -> None:
    assert {kind for kind, _ in compiled(REPOSITORY / "crds")} == {"Experiment", "FeatureView", "ModelDeployment"}


def settled(schema: Schema, obj: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What is dropped, and where faults are."""
    schema.default(obj)
    return schema.prune(obj), [fault.path for fault in schema.validate(obj)]


@needs_foreign
@pytest.mark.parametrize(
    ("kind", "version", "api_version", "spec"),
    [
        (
            "ScaledObject",
            "v1alpha1",
            "keda.sh/v1alpha1",
            {
                "scaleTargetRef": {"name": "web"},
                "minReplicaCount": 1,
                "maxReplicaCount": 3,
                "triggers": [{"type": "prometheus", "metadata": {"query": "up", "threshold": "5"}}],
            },
        ),
        (
            "VirtualService",
            "v1",
            "networking.istio.io/v1",
            {
                "hosts": ["a.default.svc.cluster.local"],
                "http": [{"route": [{"destination": {"host": "a", "subset": "v1"}, "weight": 100}], "timeout": "5s"}],
            },
        ),
        (
            "DestinationRule",
            "v1",
            "networking.istio.io/v1",
            {"host": "a", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]},
        ),
        (
            "HTTPRoute",
            "v1",
            "gateway.networking.k8s.io/v1",
            {
                "parentRefs": [{"name": "gw"}],
                "rules": [
                    {
                        "matches": [{"path": {"type": "PathPrefix", "value": "/v2"}}],
                        "backendRefs": [
                            {"name": "a", "port": 80, "weight": 80},
                            {"name": "b", "port": 80, "weight": 20},
                        ],
                    }
                ],
            },
        ),
        (
            "ServiceMonitor",
            "v1",
            "monitoring.coreos.com/v1",
            {"selector": {"matchLabels": {"a": "b"}}, "endpoints": [{"port": "http", "interval": "30s"}]},
        ),
    ],
)
def test_a_right_object_of_a_real_kind_passes(
    foreign: dict[tuple[str, str], Schema], kind: str, version: str, api_version: str, spec: dict[str, Any]
) -> None:
    obj = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    assert settled(foreign[(kind, version)], obj) == ([], [])


@needs_foreign
@pytest.mark.parametrize(
    ("kind", "version", "spec", "dropped", "faults"),
    [
        (
            "ScaledObject",
            "v1alpha1",
            {"scaleTargetRef": {"name": "web"}, "minReplicaCount": 5, "maxReplicaCount": 3, "triggers": [], "odd": 1},
            ["spec.odd"],
            ["spec", "spec.triggers"],
        ),
        (
            "VirtualService",
            "v1",
            {"http": [{"route": [{"destination": {}, "weight": "80"}]}]},
            [],
            ["spec.http[0].route[0].destination.host", "spec.http[0].route[0].weight"],
        ),
        (
            "HTTPRoute",
            "v1",
            {"rules": [{"matches": [{"path": {"type": "PathPrefix", "value": "no-slash"}}]}]},
            [],
            ["spec.rules[0].matches[0].path"],
        ),
        ("HTTPRoute", "v1", {"rules": [{"backendRefs": [{"name": "svc"}]}]}, [], ["spec.rules[0].backendRefs[0]"]),
    ],
)
def test_a_wrong_object_of_a_real_kind_is_refused_at_the_right_place(
    foreign: dict[tuple[str, str], Schema],
    kind: str,
    version: str,
    spec: dict[str, Any],
    dropped: list[str],
    faults: list[str],
) -> None:
    obj = {"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    found = settled(foreign[(kind, version)], obj)
    unchecked = [path for path in found[1] if path != "<nil>"]
    assert (found[0], sorted(unchecked)) == (dropped, faults)
