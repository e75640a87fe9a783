"""From a path to its target."""

from __future__ import annotations

from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.request import RequestTarget

_REMEMBERED = 4096


class Router:
    """Finds targets, and caches recent ones."""

    def __init__(self, registry: ResourceRegistry) -> None:
        self._registry = registry
        self._known: dict[str, RequestTarget | None] = {}
        self._generation = registry.generation

    def target(self, path: str) -> RequestTarget | None:
        """The cached result of ``target_of``."""
        if self._generation != self._registry.generation or len(self._known) > _REMEMBERED:
            self._known.clear()
            self._generation = self._registry.generation
        if path not in self._known:
            self._known[path] = target_of(path, self._registry)
        return self._known[path]


def target_of(path: str, registry: ResourceRegistry) -> RequestTarget | None:
    """The resource, namespace, name and subresource of ``/api/v1/…`` or ``/apis/{group}/{version}/…``.

    ``None`` where the path names nothing that is served.
    """
    match [part for part in path.split("/") if part]:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    match rest:
        case ["namespaces", _] | ["namespaces", _, "status" | "finalize"] if not group:
            namespace = ""
        case ["namespaces", namespace, _, *_]:
            rest = rest[2:]
        case _:
            namespace = ""
    resource = registry.find(group, version, rest[0])
    if resource is None:
        return None
    match rest[1:]:
        case []:
            return RequestTarget(resource, namespace)
        case [name] if bool(namespace) is resource.namespaced:
            return RequestTarget(resource, namespace, name)
        case [name, sub] if bool(namespace) is resource.namespaced and sub in resource.subresources:
            return RequestTarget(resource, namespace, name, sub)
    return None


def verb_of(method: str, target: RequestTarget, *, watch: bool) -> str:
    """The API verb of a request, as RBAC and fault rules name it; empty for a method without one."""
    if method in ("GET", "HEAD"):
        return "watch" if watch else "get" if target.name else "list"
    if target.resource.namespaced and not target.namespace:
        return ""  # across all namespaces there are only list and watch
    if method == "POST":
        return "create" if not target.name or target.subresource else ""
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"PUT": "update", "PATCH": "patch"}.get(method, "") if target.name else ""
