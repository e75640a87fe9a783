"""Discovery: the groups, versions and resources that are served, in the legacy and the aggregated form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace_local.apiserver.errors import no_such_path
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.request import Request
from millrace_local.apiserver.resources import ApiResource

VERSION = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0+millrace",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

_AGGREGATED = "g=apidiscovery.k8s.io"
#: (group, version, kind) of subresources whose kind is not that of the resource.
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "eviction": ("policy", "v1", "Eviction"),
    "binding": ("", "v1", "Binding"),
}
_SUBRESOURCE_VERBS = {"log": ("get",), "binding": ("create",), "eviction": ("create",), "finalize": ("update",)}


def wants_aggregated(request: Request) -> bool:
    """Whether the client asked for the aggregated form, v2."""
    for part in request.headers.get("accept", "").split(","):
        if _AGGREGATED in part and "v=v2;" in f"{part.strip()};":
            return True
    return False


AGGREGATED_TYPE = b"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def api_versions() -> dict[str, Any]:
    """``/api``, legacy."""
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def group_list(registry: ResourceRegistry) -> dict[str, Any]:
    """``/apis``, legacy."""
    groups = [_group(name, versions) for name, versions in _groups(registry).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: ResourceRegistry, name: str) -> dict[str, Any]:
    """``/apis/{group}``.

    Raises:
        StatusError: 404 for a group that is not served.
    """
    versions = _groups(registry).get(name)
    if not name or versions is None:
        raise no_such_path()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resource_list(registry: ResourceRegistry, group_name: str, version: str) -> dict[str, Any]:
    """``/api/v1`` and ``/apis/{group}/{version}``.

    Raises:
        StatusError: 404 for a version that is not served.
    """
    resources = _groups(registry).get(group_name, {}).get(version)
    if resources is None:
        raise no_such_path()
    rows = []
    for resource in resources:
        rows.append(_legacy(resource))
        rows += [_legacy_subresource(resource, name) for name in sorted(resource.subresources)]
    group_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": rows}


def aggregated(registry: ResourceRegistry, *, core: bool) -> dict[str, Any]:
    """``/api`` or ``/apis`` as ``APIGroupDiscoveryList`` v2."""
    items = []
    for name, versions in _groups(registry).items():
        if (name == "") is not core:
            continue
        entries = [
            {"version": version, "resources": [_aggregated(r) for r in resources], "freshness": "Current"}
            for version, resources in versions.items()
        ]
        metadata = {"name": name, "creationTimestamp": None} if name else {"creationTimestamp": None}
        items.append({"metadata": metadata, "versions": entries})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _priority(version: str) -> tuple[int, int, int]:
    """Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1."""
    text = version.removeprefix("v")
    for rank, stage in ((1, "beta"), (0, "alpha")):
        major, found, minor = text.partition(stage)
        if found and major.isdigit():
            return rank, int(major), int(minor or 0)
    return (2, int(text), 0) if text.isdigit() else (-1, 0, 0)


def _groups(registry: ResourceRegistry) -> dict[str, dict[str, list[ApiResource]]]:
    groups: dict[str, dict[str, list[ApiResource]]] = {}
    for resource in registry.all():
        groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return {
        name: dict(sorted(versions.items(), key=lambda item: _priority(item[0]), reverse=True))
        for name, versions in groups.items()
    }


def _group(name: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _legacy(resource: ApiResource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    return row


def _legacy_subresource(resource: ApiResource, name: str) -> dict[str, Any]:
    own = (resource.group, resource.version, resource.kind)
    kind_group, version, kind = _SUBRESOURCE_KINDS.get(name, own)
    row: dict[str, Any] = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": list(_SUBRESOURCE_VERBS.get(name, ("get", "patch", "update"))),
    }
    if name in _SUBRESOURCE_KINDS:
        row |= {"group": kind_group, "version": version}
    return row


def _aggregated(resource: ApiResource) -> dict[str, Any]:
    row: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": resource.version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        row["shortNames"] = list(resource.short_names)
    if resource.categories:
        row["categories"] = list(resource.categories)
    if resource.subresources:
        row["subresources"] = [_aggregated_subresource(resource, name) for name in sorted(resource.subresources)]
    return row


def _aggregated_subresource(resource: ApiResource, name: str) -> dict[str, Any]:
    own = (resource.group, resource.version, resource.kind)
    kind_group, version, kind = _SUBRESOURCE_KINDS.get(name, own)
    return {
        "subresource": name,
        "responseKind": {"group": kind_group, "version": version, "kind": kind},
        "verbs": list(_SUBRESOURCE_VERBS.get(name, ("get", "patch", "update"))),
    }
