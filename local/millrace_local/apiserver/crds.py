"""The resources that a CustomResourceDefinition brings."""

from __future__ import annotations

from typing import Any

from millrace_local.apiserver.resources import ApiResource

CRD_FINALIZER = "customresourcecleanup.apiextensions.k8s.io"


def resources_of(definition: dict[str, Any]) -> list[ApiResource]:
    """One resource for each served version of a CRD; none until its names are accepted."""
    conditions = (definition.get("status") or {}).get("conditions") or ()
    if any(c["type"] == "Established" and c["status"] == "False" for c in conditions):
        return []
    spec = definition["spec"]
    names = spec["names"]
    return [
        ApiResource(
            group=spec["group"],
            version=version["name"],
            kind=names["kind"],
            plural=names["plural"],
            singular=names.get("singular") or names["kind"].lower(),
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=frozenset(version.get("subresources") or ()),
            list_kind=names.get("listKind") or f"{names['kind']}List",
            custom=True,
            definition=version,
        )
        for version in spec["versions"]
        if version.get("served")
    ]
