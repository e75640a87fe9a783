"""Moving objects from kubectl's client-side apply to server-side apply.

Only for the manager ``kubectl``, as in Kubernetes: a field that still has the value of the last-applied annotation is
no conflict, and the annotation is kept up to date.
Source: ``k8s.io/apimachinery/pkg/util/managedfields/internal/lastapplied*.go``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millrace_core.schema import Schema
from millrace_kube.fieldset import difference, paths
from millrace_local.apiserver.fieldmanager.ownership import compare_objects, ownable
from millrace_local.apiserver.fieldmanager.typed import field_set

KUBECTL = "kubectl"
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def unchanged_since_last_applied(live: Mapping[str, Any], api_version: str, schema: Schema) -> frozenset[str]:
    """The paths of the fields whose values are still those of the last ``kubectl apply``."""
    try:
        last = json.loads(_annotations(live).get(ANNOTATION, ""))
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        return frozenset()
    fields = field_set(ownable(last), schema.root) or {}
    for changed in compare_objects(last, live, schema.root):
        fields = difference(fields, changed)
    return frozenset(paths(fields))


def refresh(obj: dict[str, Any], applied: Mapping[str, Any]) -> None:
    """Writes ``applied`` into the last-applied annotation of ``obj``, if it has one."""
    if not _annotations(obj).get(ANNOTATION):
        return
    metadata = dict(applied.get("metadata") or {})
    rest = {key: value for key, value in _annotations(applied).items() if key != ANNOTATION}
    document = {**applied, "metadata": {**metadata, "annotations": rest}}
    obj["metadata"]["annotations"][ANNOTATION] = json.dumps(document, separators=(",", ":"), sort_keys=True) + "\n"


def _annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    return (obj.get("metadata") or {}).get("annotations") or {}
