"""Which resources the server serves now: the built-in ones and those of established CRDs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from millrace_local.apiserver.resources import BUILTIN, SELECTABLE, ApiResource


class ResourceRegistry:
    """Resources by (group, version, plural); ``generation`` grows with every change of the set."""

    def __init__(self) -> None:
        self._resources = {(r.group, r.version, r.plural): r for r in BUILTIN}
        self.definitions: dict[str, dict[str, Any]] = {}
        self.generation = 0

    def find(self, group: str, version: str, plural: str) -> ApiResource | None:
        """The served resource of that name, or ``None``."""
        return self._resources.get((group, version, plural))

    def all(self) -> Iterable[ApiResource]:
        """Every served resource in every version."""
        return self._resources.values()

    def stored(self) -> list[ApiResource]:
        """One resource for each storage key."""
        by_storage: dict[str, ApiResource] = {}
        for resource in self._resources.values():
            if "list" in resource.verbs:
                by_storage.setdefault(resource.storage, resource)
        return list(by_storage.values())

    def of_storage(self, storage: str) -> ApiResource | None:
        """Any served version of the resource with that storage key."""
        return next((r for r in self._resources.values() if r.storage == storage), None)

    def of_kind(self, api_version: str, kind: str) -> ApiResource | None:
        """The resource that serves a kind."""
        return next((r for r in self._resources.values() if r.kind == kind and r.api_version == api_version), None)

    def selectable(self, resource: ApiResource) -> tuple[str, ...]:
        """The paths that a field selector on this resource may name."""
        if not resource.custom:
            return SELECTABLE.get(resource.storage, ())
        fields = resource.definition.get("selectableFields") or ()
        return tuple(entry["jsonPath"].removeprefix(".") for entry in fields)

    def define(self, name: str, definition: dict[str, Any], resources: Iterable[ApiResource]) -> None:
        """Serves the resources of a CRD, instead of those it had before."""
        self._forget(name)
        self.definitions[name] = definition
        for resource in resources:
            self._resources[(resource.group, resource.version, resource.plural)] = resource
        self.generation += 1

    def undefine(self, name: str) -> None:
        """Stops serving the resources of a CRD."""
        self._forget(name)
        self.definitions.pop(name, None)
        self.generation += 1

    def _forget(self, name: str) -> None:
        plural, _, group = name.partition(".")
        for key in [k for k, r in self._resources.items() if r.custom and (r.group, r.plural) == (group, plural)]:
            del self._resources[key]
