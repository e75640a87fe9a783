"""Golden YAML: what a builder makes, compared with a file, and checked against the schemas of those who read it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace_core.schema import Schema, compile_schema
from tests import kubernetes_peer

# Third-party CRDs stand beside the checkout where they are at hand; they are not part of it.
CRDS = Path(__file__).parents[3] / "shared" / "crds"
KUBERNETES = "1.34"


def check(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """Compares with the file; MILLRACE_WRITE_GOLDEN=1 writes it instead."""
    text = yaml.dump_all(documents, Dumper=_Plain, sort_keys=False, width=120)
    if os.environ.get("MILLRACE_WRITE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs; if that is right, run `make golden`"


def check_schema(document: dict[str, Any]) -> None:
    """Fails where Kubernetes, or the owner of the kind, would refuse the object or drop a field of it."""
    group = document["apiVersion"].rpartition("/")[0]
    if group in ("", "apps", "autoscaling", "batch", "policy"):
        kubernetes_peer.check(document, KUBERNETES)
        return
    found = _third_party().get((document["apiVersion"], document["kind"]))
    if found is None:
        pytest.skip(f"the CRD of {document['kind']} is not at hand in {CRDS}")
    assert found.validate(document) == []
    assert found.prune(document) == []


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice: a golden file is for reading."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@cache
def _third_party() -> dict[tuple[str, str], Schema]:
    schemas = {}
    for path in sorted(CRDS.glob("*.yaml")) if CRDS.is_dir() else ():
        if "httproutes" in path.name:
            continue
        for crd in yaml.load_all(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            for version in (crd or {}).get("spec", {}).get("versions", ()):
                if version["name"] in ("v1", "v1alpha1"):
                    key = f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"]
                    schemas[key] = compile_schema(version["schema"]["openAPIV3Schema"])
    return schemas
