"""The schemas of the built-in kinds: as published, and as the structural schemas that the server uses."""

from __future__ import annotations

import functools
import gzip
import hashlib
from importlib import resources
from typing import Any

import orjson

from millrace_core.base.errors import NotFoundError
from millrace_core.schema.validation import QUANTITY_FORMAT

KUBERNETES_VERSION = "v1.32.0"  # the version of Kubernetes that the server imitates
DATA_FILE = "builtin.json.gz"

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_CORE = "io.k8s.api.core.v1."
_CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

_ANY = {"x-kubernetes-preserve-unknown-fields": True}
_ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_QUANTITY = r"^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"

#: Definitions whose published form is not structural, or that contain themselves.
_OPAQUE: dict[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "x-kubernetes-int-or-string": True,
        "format": QUANTITY_FORMAT,
        "pattern": _QUANTITY,
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"x-kubernetes-int-or-string": True},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _ANY_OBJECT,
    f"{_META}FieldsV1": _ANY_OBJECT,
    f"{_CRD}JSON": _ANY,
    f"{_CRD}JSONSchemaProps": _ANY_OBJECT,
    f"{_CRD}CustomResourceSubresourceStatus": _ANY_OBJECT,
}

#: Defaults of list-map keys, without which items would have no identity.
_KEY_DEFAULTS = {
    (f"{_CORE}ContainerPort", "protocol"): "TCP",
    (f"{_CORE}ServicePort", "protocol"): "TCP",
}

#: Fields that are published as required and that a real server accepts as absent.
_NOT_REQUIRED = {
    ("io.k8s.api.networking.v1.NetworkPolicySpec", "podSelector"),
    ("io.k8s.api.apps.v1.StatefulSetSpec", "serviceName"),
    ("io.k8s.api.discovery.v1.EndpointSlice", "endpoints"),
    ("io.k8s.api.events.v1.Event", "eventTime"),
    (f"{_CRD}CustomResourceDefinitionVersion", "served"),
    (f"{_CRD}CustomResourceDefinitionVersion", "storage"),
}


@functools.cache
def definitions() -> dict[str, Any]:
    """The published definitions by name; a ``$ref`` holds the bare name of another."""
    loaded: dict[str, Any] = orjson.loads(gzip.decompress(_data()))
    return loaded


@functools.cache
def data_digest() -> str:
    """A hash of the published definitions."""
    return hashlib.sha256(_data()).hexdigest()


def _data() -> bytes:
    return resources.files(__package__).joinpath(DATA_FILE).read_bytes()


@functools.cache
def names_by_kind() -> dict[tuple[str, str, str], str]:
    """Definition names by (group, version, kind)."""
    return {
        (entry["group"], entry["version"], entry["kind"]): name
        for name, schema in definitions().items()
        for entry in schema.get("x-kubernetes-group-version-kind", ())
    }


@functools.cache
def builtin_schema(group: str, version: str, kind: str) -> dict[str, Any]:
    """The structural schema of a built-in kind, with references resolved; not to be changed.

    Nothing below ``status`` is required, since a real server fills what a writer of status leaves out.
    Raises NotFoundError for a kind that is not built in.
    """
    name = names_by_kind().get((group, version, kind))
    if name is None:
        raise NotFoundError(f"no built-in kind {kind} in {group or 'the core group'}, version {version}")
    schema = _structural(name)
    properties = schema.get("properties", {})
    if "status" not in properties:
        return schema
    return {**schema, "properties": {**properties, "status": _without_required(properties["status"])}}


@functools.cache
def _structural(name: str) -> dict[str, Any]:
    if name in _OPAQUE:
        return _OPAQUE[name]
    schema = _resolved(definitions()[name])
    for (owner, field), default in _KEY_DEFAULTS.items():
        if owner == name:
            schema["properties"][field] = {**schema["properties"][field], "default": default}
    if "required" in schema:
        schema["required"] = [field for field in schema["required"] if (name, field) not in _NOT_REQUIRED]
    return schema


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A copy with references replaced by their targets; list and merge keywords beside a reference stay."""
    if "$ref" in schema:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**_structural(schema["$ref"]), **beside}
    out = dict(schema)
    if "properties" in schema:
        out["properties"] = {name: _resolved(sub) for name, sub in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            out[key] = _resolved(schema[key])
    if "type" not in schema:
        out.update(_ANY)
    return out


def _without_required(schema: dict[str, Any]) -> dict[str, Any]:
    out = {key: value for key, value in schema.items() if key != "required"}
    if "properties" in out:
        out["properties"] = {name: _without_required(sub) for name, sub in out["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(out.get(key), dict):
            out[key] = _without_required(out[key])
    return out
