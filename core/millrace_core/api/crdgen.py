"""CRDs from the API models: structural OpenAPI v3 schemas without references, titles or unions.

``make generate`` writes them; nothing else does. The rules of structural schemas are those of Kubernetes' own
documentation, "Specifying a structural schema".
"""

from __future__ import annotations

from typing import Any

from millrace_core.api import examples
from millrace_core.api.base import ApiModel
from millrace_core.api.group import GROUP, VERSION
from millrace_core.api.kinds import Kind, PrinterColumn

_DROPPED = frozenset({"title", "additionalProperties", "const", "$defs", "discriminator", "description"})


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind, as a JSON value."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["millrace"],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}, **_scale(kind)},
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": root_schema(kind.model)},
                }
            ],
        },
    }


def root_schema(model: type[ApiModel]) -> dict[str, Any]:
    """The structural schema of a kind, with apiVersion, kind and metadata as every CRD has them."""
    schema = _model_schema(model)
    properties = schema["properties"]
    for name in ("apiVersion", "kind"):
        properties[name] = {"type": "string"}
    properties["metadata"] = {"type": "object"}
    schema["properties"] = {name: properties[name] for name in ("apiVersion", "kind", "metadata", "spec", "status")}
    schema["required"] = ["spec"]
    return schema


def _model_schema(model: type[ApiModel]) -> dict[str, Any]:
    full = model.model_json_schema(by_alias=True, mode="validation")
    definitions = full.get("$defs", {})
    schema = _flatten(full, definitions, _models_by_name(model))
    return _with_rules(schema, model)


def _models_by_name(model: type[ApiModel]) -> dict[str, type[ApiModel]]:
    """All models inside of ``model``, by the names that pydantic refers to."""
    found: dict[str, type[ApiModel]] = {}
    pending: list[Any] = [model]
    while pending:
        current = pending.pop()
        if isinstance(current, type) and issubclass(current, ApiModel):
            if current.__name__ in found:
                continue
            found[current.__name__] = current
            pending.extend(field.annotation for field in current.model_fields.values())
        else:
            pending.extend(getattr(current, "__args__", ()))
    return found


def _with_rules(schema: dict[str, Any], model: type[ApiModel]) -> dict[str, Any]:
    if model.rules:
        schema["x-kubernetes-validations"] = [{"rule": rule.rule, "message": rule.message} for rule in model.rules]
    if model.__doc__:
        schema.setdefault("description", " ".join(model.__doc__.split()))
    return schema


def _flatten(node: dict[str, Any], definitions: dict[str, Any], models: dict[str, type[ApiModel]]) -> dict[str, Any]:
    node = dict(node)
    description = node.get("description")
    if "$ref" in node:
        name = node.pop("$ref").rsplit("/", 1)[-1]
        flat = _with_rules(_flatten(definitions[name], definitions, models), models[name])
        if "default" in node:
            flat["default"] = node["default"]
    elif "anyOf" in node:
        [present] = [option for option in node["anyOf"] if option.get("type") != "null"]
        flat = _flatten(present, definitions, models)
        flat.update({key: value for key, value in node.items() if key.startswith("x-")})
        flat.update({key: node[key] for key in _BOUNDS if key in node})
    else:
        flat = _plain(node, definitions, models)
    if description and ("$ref" in node or "properties" not in node):
        flat["description"] = description
    if "pattern" in flat and (written := examples.written(flat["pattern"])) not in flat.get("description", ""):
        flat["description"] = f"{flat.get('description', '')} {written}".strip()
    return flat


_BOUNDS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def _plain(node: dict[str, Any], definitions: dict[str, Any], models: dict[str, type[ApiModel]]) -> dict[str, Any]:
    flat = {key: value for key, value in node.items() if key not in _DROPPED}
    if flat.get("default", 0) is None:
        del flat["default"]
    if "properties" in node:
        flat["properties"] = {name: _flatten(child, definitions, models) for name, child in node["properties"].items()}
    if "items" in node:
        flat["items"] = _flatten(node["items"], definitions, models)
    if isinstance(node.get("additionalProperties"), dict):
        flat["additionalProperties"] = _flatten(node["additionalProperties"], definitions, models)
    if flat.get("type") == "integer":
        flat["format"] = "int64"
    return flat


def _scale(kind: Kind) -> dict[str, Any]:
    paths = kind.scale
    if paths is None:
        return {}
    return {
        "scale": {
            "specReplicasPath": paths.spec_replicas,
            "statusReplicasPath": paths.status_replicas,
            "labelSelectorPath": paths.selector,
        }
    }


def _column(column: PrinterColumn) -> dict[str, Any]:
    written: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        written["description"] = column.description
    if column.priority:
        written["priority"] = column.priority
    return written
