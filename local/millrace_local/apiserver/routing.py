"""From a path to what it names."""

from __future__ import annotations

from millrace_local.apiserver.registry import Registry
from millrace_local.apiserver.request import Target

_REMEMBERED = 4096


class Router:
    """Finds targets, and remembers those that were asked for lately."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._known: dict[str, Target | None] = {}
        self._generation = registry.generation

    def target(self, path: str) -> Target | None:
        """What ``target_of`` finds."""
        if self._generation != self._registry.generation or len(self._known) > _REMEMBERED:
            self._known.clear()
            self._generation = self._registry.generation
        if path not in self._known:
            self._known[path] = target_of(path, self._registry)
        return self._known[path]


def target_of(path: str, registry: Registry) -> Target | None:
    """The resource, namespace, name and subresource of ``/api/v1/…`` or ``/apis/{group}/{version}/…``.

    ``None`` where the path names none that is served.
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
        case ["namespaces", namespace, *rest] if rest:
            pass
        case _:
            namespace = ""
    resource = registry.find(group, version, rest[0])
    if resource is None:
        return None
    match rest[1:]:
        case []:
            return Target(resource, namespace)
        case [name] if bool(namespace) is resource.namespaced:
            return Target(resource, namespace, name)
        case [name, sub] if bool(namespace) is resource.namespaced and sub in resource.subresources:
            return Target(resource, namespace, name, sub)
    return None


def verb_of(method: str, target: Target, *, watch: bool) -> str:
    """The API verb of a request, as RBAC and fault rules name it; empty for a method that has none here."""
    if method in ("GET", "HEAD"):
        return "watch" if watch else "get" if target.name else "list"
    if target.resource.namespaced and not target.namespace:
        return ""  # objects of all namespaces can only be looked at
    if method == "POST":
        return "create" if not target.name or target.subresource else ""
    if method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"PUT": "update", "PATCH": "patch"}.get(method, "") if target.name else ""
