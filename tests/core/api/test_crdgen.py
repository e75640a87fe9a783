"""The generated CRDs: current, structural, described."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.api.crdgen import crd
from millrace_core.api.generate import rendered
from millrace_core.api.kinds import KINDS, Kind

ROOT = Path(__file__).parents[3]


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}[]")


def schema_of(kind: Kind) -> dict[str, Any]:
    return crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


@pytest.mark.parametrize("folder", ["crds", "charts/millrace/crds"])
def test_the_committed_crds_are_those_that_the_models_generate(folder: str) -> None:
    for name, text in rendered().items():
        assert (ROOT / folder / name).read_text() == text


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_node_has_one_type_and_nothing_that_structural_schemas_forbid(kind: Kind) -> None:
    for path, node in nodes(schema_of(kind)):
        assert isinstance(node.get("type"), str) or node.get("x-kubernetes-int-or-string"), path
        assert not {"$ref", "title", "anyOf", "allOf", "oneOf", "const", "$defs"} & node.keys(), path
        assert node.get("default", 0) is not None, path


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_field_of_spec_and_status_is_described_for_kubectl_explain(kind: Kind) -> None:
    undescribed = [
        path
        for path, node in nodes(schema_of(kind))
        if path.startswith((".spec", ".status")) and not path.endswith("[]") and not node.get("description")
    ]
    assert undescribed == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_lists_that_rules_walk_are_bounded(kind: Kind) -> None:
    unbounded = [
        path
        for path, node in nodes(schema_of(kind))
        if node.get("type") == "array" and path.startswith(".spec") and "maxItems" not in node
    ]
    assert unbounded == []


def test_defaults_of_nested_parts_reach_an_object_that_leaves_the_part_out() -> None:
    spec = yaml.load((ROOT / "crds" / "featureviews.yaml").read_text(), yaml.CSafeLoader)
    online = spec["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["online"]
    assert online["default"] == {}
    assert online["properties"]["enabled"]["default"] is True
