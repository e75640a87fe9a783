"""The OpenAPI 3 documents: one per group and version, and their index."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from millrace_local.apiserver.openapi.builtin import KUBERNETES_VERSION, data_digest
from millrace_local.apiserver.openapi.kinds import PublishedSchemas
from millrace_local.apiserver.openapi.operations import paths, prefix, reference


def v3_index(crds: list[dict[str, Any]]) -> dict[str, Any]:
    """The paths of the documents, each with a hash that changes when the document may have changed."""
    customs: dict[str, list[dict[str, Any]]] = {}
    documents: dict[str, None] = {}
    for resource in PublishedSchemas(crds).resources:
        documents[prefix(resource)] = None
        if resource.custom:
            customs.setdefault(prefix(resource), []).append(resource.definition)
    return {"paths": {path: {"serverRelativeURL": _address(path, customs.get(path, []))} for path in documents}}


def _address(path: str, customs: list[dict[str, Any]]) -> str:
    content = data_digest().encode() + orjson.dumps(customs, option=orjson.OPT_SORT_KEYS)
    return f"/openapi/v3/{path}?hash={hashlib.sha256(content).hexdigest().upper()}"


def v3_document(path: str, crds: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The document of a group and version such as ``api/v1`` or ``apis/apps/v1``; None if nothing is served there."""
    published = PublishedSchemas(crds)
    served = [resource for resource in published.resources if prefix(resource) == path]
    if not served:
        return None
    described: dict[str, Any] = {}
    for resource in served:
        described.update(paths(resource, published.kinds))
    used = {name.removeprefix("#/components/schemas/") for name in _mentioned(described)}
    schemas = published.reached_from(used)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": dict(sorted(described.items())),
        "components": {"schemas": {name: _with_references(schema) for name, schema in schemas.items()}},
    }


def _mentioned(described: Any) -> set[str]:
    if isinstance(described, dict):
        found = {described["$ref"]} if isinstance(described.get("$ref"), str) else set()
        return found.union(*(_mentioned(value) for value in described.values()))
    return set[str]().union(*(_mentioned(item) for item in described)) if isinstance(described, list) else set()


def _with_references(schema: Any) -> Any:
    """The schema with full references; keywords beside a reference are kept by way of ``allOf``."""
    if isinstance(schema, list):
        return [_with_references(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    name = schema.get("$ref")
    if not isinstance(name, str):
        return {key: _with_references(value) for key, value in schema.items()}
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return {**beside, "allOf": [reference(name)]} if beside else reference(name)
