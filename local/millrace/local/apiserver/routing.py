"""From a path to what it names."""

from __future__ import annotations

from millrace.local.apiserver.registry import Registry
from millrace.local.apiserver.request import Target


def target_of(path: str, registry: Registry) -> Target | None:
    """The resource, namespace, name and subresource of ``/api/v1/…`` or ``/apis/{group}/{version}/…``.

    ``None`` where the path names none that is served.
    """
    parts = [part for part in path.split("/") if part]
    if len(parts) >= 3 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) >= 4 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and (group or rest[2] not in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource = registry.find(group, version, rest[0])
    if resource is None or len(rest) > 3:
        return None
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if subresource and subresource not in resource.subresources:
        return None
    if resource.namespaced:
        if not namespace and (name or subresource):
            return None
    elif namespace:
        return None
    return Target(resource, namespace, name, subresource)


def verb_of(method: str, target: Target, *, watch: bool) -> str:
    """The API verb of a request, as RBAC and fault rules name it; empty for a method that has none here."""
    if method in ("GET", "HEAD"):
        return "watch" if watch else "get" if target.name else "list"
    if method == "POST":
        return "create" if not target.name or target.subresource else ""
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"PUT": "update", "PATCH": "patch"}.get(method, "") if target.name else ""
