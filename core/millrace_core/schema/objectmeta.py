"""The schema of ``metadata``, the same for every kind.

Source: ``k8s.io/apimachinery/pkg/apis/meta/v1`` (ObjectMeta, OwnerReference, ManagedFieldsEntry).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STRING = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_STRINGS = {"type": "object", "additionalProperties": _STRING}

OBJECT_META: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "name": _STRING,
        "generateName": _STRING,
        "namespace": _STRING,
        "selfLink": _STRING,
        "uid": _STRING,
        "resourceVersion": _STRING,
        "generation": {"type": "integer", "format": "int64"},
        "creationTimestamp": _TIME,
        "deletionTimestamp": _TIME,
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "labels": _STRINGS,
        "annotations": _STRINGS,
        "finalizers": {
            "type": "array",
            "items": _STRING,
            "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge",
        },
        "ownerReferences": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "x-kubernetes-patch-merge-key": "uid",
            "x-kubernetes-patch-strategy": "merge",
            "items": {
                "type": "object",
                "x-kubernetes-map-type": "atomic",
                "required": ["apiVersion", "kind", "name", "uid"],
                "properties": {
                    "apiVersion": _STRING,
                    "kind": _STRING,
                    "name": _STRING,
                    "uid": _STRING,
                    "controller": {"type": "boolean"},
                    "blockOwnerDeletion": {"type": "boolean"},
                },
            },
        },
        "managedFields": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "manager": _STRING,
                    "operation": _STRING,
                    "apiVersion": _STRING,
                    "time": _TIME,
                    "fieldsType": _STRING,
                    "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "subresource": _STRING,
                },
            },
        },
    },
}


def with_object_meta(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a whole object, with apiVersion, kind and metadata.

    Of the schema's own ``metadata`` only the constraints on name and generateName count.
    """
    properties = dict(raw.get("properties") or {})
    own = (properties.get("metadata") or {}).get("properties") or {}
    names = {key: {**_STRING, **own[key]} for key in ("name", "generateName") if key in own}
    properties["apiVersion"] = {**_STRING, **properties.get("apiVersion", {})}
    properties["kind"] = {**_STRING, **properties.get("kind", {})}
    properties["metadata"] = {**OBJECT_META, "properties": {**OBJECT_META["properties"], **names}}
    return {**raw, "properties": properties}
