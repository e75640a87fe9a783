from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import yaml

from millrace_core.api.featureview import FeatureView
from millrace_core.api.loading import load_yaml
from millrace_core.features.definition import definition
from millrace_core.schema import Schema, compile_schema

ROOT = Path(__file__).parents[2]
SAMPLES = sorted((ROOT / "manifests" / "samples").rglob("*.yaml"))


@pytest.fixture(scope="module")
def schemas() -> dict[str, Schema]:
    """By kind what the API server checks, rules included."""
    crds = [
        yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["spec"] for path in (ROOT / "crds").glob("*.yaml")
    ]
    return {crd["names"]["kind"]: compile_schema(crd["versions"][0]["schema"]["openAPIV3Schema"]) for crd in crds}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_is_what_the_kinds_accept(path: Path) -> None:
    found = load_yaml(path.read_text(encoding="utf-8"), origin=path.name)
    assert found
    for each in found:
        if isinstance(each, FeatureView):
            definition.compile(each.metadata["name"], "default", each.spec)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_sample_is_what_the_api_server_accepts(path: Path, schemas: dict[str, Schema]) -> None:
    for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        as_json = orjson.loads(orjson.dumps(document))
        schema = schemas[document["kind"]]
        schema.default(as_json)
        assert schema.prune(as_json) == []
        assert schema.validate(as_json) == []
