"""Published schemas by kind: those of the built-in kinds and of CRDs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from millrace_local.apiserver.crds import resources_of
from millrace_local.apiserver.openapi.builtin import definitions, names_by_kind
from millrace_local.apiserver.resources import BUILTIN, ApiResource

KIND_KEY = "x-kubernetes-group-version-kind"
META = "io.k8s.apimachinery.pkg.apis.meta.v1."

_API_VERSION = (
    "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized "
    "schemas to the latest internal value, and may reject unrecognized values."
)
_KIND = "Kind is a string value representing the REST resource this object represents. Cannot be updated. In CamelCase."

#: Published shape of any patch body.
PATCH = {
    f"{META}Patch": {
        "description": "Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.",
        "type": "object",
    }
}


class PublishedSchemas:
    """The served resources, and the schemas that documents describe; a ``$ref`` holds a bare name."""

    def __init__(self, crds: Iterable[dict[str, Any]]) -> None:
        self.resources: list[ApiResource] = list(BUILTIN)
        self.schemas: dict[str, Any] = {**definitions(), **PATCH}
        self.kinds: dict[tuple[str, str, str], str] = dict(names_by_kind())
        for crd in crds:
            for resource in resources_of(crd):
                self.resources.append(resource)
                self._add(resource)

    def _add(self, resource: ApiResource) -> None:
        own, many = custom_name(resource, resource.kind), custom_name(resource, resource.plural_list_kind)
        self.schemas[own] = custom_schema(resource)
        self.schemas[many] = custom_list_schema(resource, own)
        self.kinds[(resource.group, resource.version, resource.kind)] = own
        self.kinds[(resource.group, resource.version, resource.plural_list_kind)] = many

    def reached_from(self, names: Iterable[str]) -> dict[str, Any]:
        """The schemas of these names and of all that they refer to, sorted by name."""
        waiting, found = list(names), {}
        while waiting:
            name = waiting.pop()
            if name not in found:
                found[name] = self.schemas[name]
                waiting.extend(references(self.schemas[name]))
        return dict(sorted(found.items()))


def references(schema: Any) -> Iterator[str]:
    """The names that a schema refers to."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from references(item)


def custom_name(resource: ApiResource, kind: str) -> str:
    """``dev.millrace.v1alpha1.FeatureView`` for a kind of the group millrace.dev."""
    return ".".join([*reversed(resource.group.split(".")), resource.version, kind])


def _kind_entry(resource: ApiResource, kind: str) -> list[dict[str, str]]:
    return [{"group": resource.group, "version": resource.version, "kind": kind}]


def custom_schema(resource: ApiResource) -> dict[str, Any]:
    """A CRD version's schema with apiVersion, kind and metadata, which CRDs leave unsaid."""
    own = resource.definition.get("schema", {}).get("openAPIV3Schema", {"type": "object"})
    metadata = {
        "description": "Standard object's metadata.",
        "$ref": f"{META}ObjectMeta",
    }
    properties = {
        **(own.get("properties") or {}),
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": metadata,
    }
    return {**own, "properties": properties, KIND_KEY: _kind_entry(resource, resource.kind)}


def custom_list_schema(resource: ApiResource, item: str) -> dict[str, Any]:
    """The schema of the list of a custom kind."""
    return {
        "description": f"{resource.plural_list_kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "kind": {"description": _KIND, "type": "string"},
            "items": {
                "description": f"List of {resource.plural}.",
                "type": "array",
                "items": {"$ref": item},
            },
            "metadata": {"description": "Standard list metadata.", "$ref": f"{META}ListMeta"},
        },
        KIND_KEY: _kind_entry(resource, resource.plural_list_kind),
    }
