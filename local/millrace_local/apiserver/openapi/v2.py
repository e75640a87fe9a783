"""The OpenAPI 2 document, for clients that do not know version 3."""

from __future__ import annotations

from typing import Any

from millrace_local.apiserver.openapi.builtin import KUBERNETES_VERSION
from millrace_local.apiserver.openapi.kinds import KIND_KEY, PublishedSchemas
from millrace_local.apiserver.openapi.operations import paths

_V3_REF = "#/components/schemas/"
_JUNCTORS = frozenset({"allOf", "anyOf", "oneOf", "not", "nullable"})


def v2_document(crds: list[dict[str, Any]]) -> dict[str, Any]:
    """One document for every served kind."""
    published = PublishedSchemas(crds)
    described: dict[str, Any] = {}
    for resource in published.resources:
        described.update(paths(resource, published.kinds))
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": {path: _path(item) for path, item in sorted(described.items())},
        "definitions": {name: _schema(schema) for name, schema in sorted(published.schemas.items())},
    }


def _path(item: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [_parameter(parameter) for parameter in value] if key == "parameters" else _operation(value)
        for key, value in item.items()
    }


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    out = {key: value for key, value in operation.items() if key not in {"requestBody", "responses"}}
    out["parameters"] = [_parameter(parameter) for parameter in operation["parameters"]]
    body = operation.get("requestBody")
    if body is not None:
        media = list(body["content"])
        schema = _reference(body["content"][media[0]]["schema"])
        required = {"required": True} if body.get("required") else {}
        out["parameters"].insert(0, {"name": "body", "in": "body", "schema": schema, **required})
        out["consumes"] = media
    content = operation["responses"]["200"]["content"]
    media = list(content)
    out["produces"] = media
    response = {"description": "OK", "schema": _reference(content[media[0]]["schema"])}
    out["responses"] = {**operation["responses"], "200": response}
    return out


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in parameter.items() if key != "schema"}, **parameter["schema"]}


def _reference(schema: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": schema["$ref"].replace(_V3_REF, "#/definitions/")}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without what version 2 cannot express and what old clients fail on.

    Source: ``k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2``.
    """
    if isinstance(schema.get("$ref"), str):
        return {**schema, "$ref": f"#/definitions/{schema['$ref']}"}
    out = {key: value for key, value in schema.items() if key not in _JUNCTORS}
    opaque = schema.get("nullable") or (schema.get("x-kubernetes-preserve-unknown-fields") and KIND_KEY not in schema)
    if opaque:
        return {key: value for key, value in out.items() if key not in {"type", "items", "properties"}}
    if "properties" in out:
        out["properties"] = {name: _schema(sub) for name, sub in out["properties"].items()}
        if "required" in out:
            out["required"] = [
                name for name in out["required"] if not schema["properties"].get(name, {}).get("nullable")
            ]
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _schema(out[key])
    return out
