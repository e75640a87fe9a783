"""Validation of an object's ``metadata``, the same for every kind.

Source: ``k8s.io/apimachinery/pkg/api/validation`` and ``pkg/util/validation``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from millrace_core.schema.errors import TYPE_INVALID, FieldError, invalid, required

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]+")

_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_DNS1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LABEL_LIMIT, _SUBDOMAIN_LIMIT = 63, 253
_ANNOTATIONS_LIMIT = 256 * 1024

#: Resources whose names are not RFC 1123 subdomains, by the rule for their names.
_LABEL_NAMED = {"/namespaces"}
_DNS1035_NAMED = {"/services"}
_PATH_NAMED = {
    f"rbac.authorization.k8s.io/{plural}" for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
}


def name_error(storage: str, name: str, path: str = "metadata.name") -> FieldError | None:
    """The error if ``name`` is not a valid name for this resource."""
    if storage in _PATH_NAMED:
        return None if _PATH_SEGMENT.fullmatch(name) else invalid(path, name, "may not contain '/' or '%'")
    if storage in _LABEL_NAMED:
        pattern, limit, rule = _LABEL, _LABEL_LIMIT, _LABEL_RULE
    elif storage in _DNS1035_NAMED:
        pattern, limit, rule = _DNS1035, _LABEL_LIMIT, _DNS1035_RULE
    else:
        pattern, limit, rule = _SUBDOMAIN, _SUBDOMAIN_LIMIT, _SUBDOMAIN_RULE
    if len(name) > limit:
        return invalid(path, name, f"must be no more than {limit} characters")
    return None if pattern.fullmatch(name) else invalid(path, name, rule)


def dns_label_error(name: str, path: str) -> FieldError | None:
    """An error for a name, of a container or volume for example, that is no DNS label (RFC 1123)."""
    if len(name) > _LABEL_LIMIT:
        return invalid(path, name, f"must be no more than {_LABEL_LIMIT} characters")
    return None if _LABEL.fullmatch(name) else invalid(path, name, _LABEL_RULE)


def _qualified_name_error(key: str, path: str) -> FieldError | None:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > _SUBDOMAIN_LIMIT or not _SUBDOMAIN.fullmatch(prefix)):
        return invalid(path, key, f"prefix part {_SUBDOMAIN_RULE}")
    if not name or len(name) > _LABEL_LIMIT:
        return invalid(path, key, "name part must be non-empty and no more than 63 characters")
    return None if _QUALIFIED.fullmatch(name) else invalid(path, key, _QUALIFIED_RULE)


def label_errors(labels: Mapping[str, Any], path: str) -> list[FieldError]:
    """Errors of a map of labels."""
    errors = []
    for key, value in labels.items():
        if field_error := _qualified_name_error(key, path):
            errors.append(field_error)
        if not isinstance(value, str):
            errors.append(FieldError(TYPE_INVALID, f"{path}.{key}", f"Invalid value: {value!r}: must be a string"))
        elif len(value) > _LABEL_LIMIT:
            errors.append(invalid(path, value, "must be no more than 63 characters"))
        elif value and not _QUALIFIED.fullmatch(value):
            errors.append(invalid(path, value, _LABEL_VALUE_RULE))
    return errors


def _annotation_errors(annotations: Mapping[str, Any]) -> list[FieldError]:
    path = "metadata.annotations"
    errors = [field_error for key in annotations if (field_error := _qualified_name_error(key.lower(), path))]
    size = 0
    for key, value in annotations.items():
        if not isinstance(value, str):
            errors.append(FieldError(TYPE_INVALID, f"{path}.{key}", f"Invalid value: {value!r}: must be a string"))
        else:
            size += len(key) + len(value)
    if size > _ANNOTATIONS_LIMIT:
        errors.append(
            FieldError("FieldValueTooLong", path, f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes")
        )
    return errors


_OWNER_FIELDS = ("apiVersion", "kind", "name", "uid")


def _owner_errors(owners: list[Any]) -> list[FieldError]:
    errors = []
    controllers = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        errors += [
            invalid(f"{path}.{name}", owner.get(name) or "", f"{name} must not be empty")
            for name in _OWNER_FIELDS
            if not owner.get(name)
        ]
        if owner.get("controller"):
            controllers.append(f"{owner.get('kind')}/{owner.get('name')}")
    if len(controllers) > 1:
        found = " and ".join(controllers)
        message = f'Only one reference can have Controller set to true. Found "true" in references for {found}'
        errors.append(FieldError("FieldValueInvalid", "metadata.ownerReferences", message))
    return errors


_SHAPES: dict[str, type] = {
    "labels": dict,
    "annotations": dict,
    "finalizers": list,
    "ownerReferences": list,
    "managedFields": list,
    "name": str,
    "namespace": str,
    "generateName": str,
    "uid": str,
    "resourceVersion": str,
}
_SHAPE_NAMES: dict[type, str] = {dict: "object", list: "array", str: "string"}


def shape_errors(metadata: Mapping[str, Any]) -> list[FieldError]:
    """Fields of metadata that have the wrong type; checked before anything else reads them."""
    errors = []
    for name, value in metadata.items():
        kind = _SHAPES.get(name)
        if kind is not None and value is not None and not isinstance(value, kind):
            wanted, got = _SHAPE_NAMES[kind], type(value).__name__
            errors.append(
                FieldError(TYPE_INVALID, f"metadata.{name}", f"Invalid value: must be of type {wanted}, got {got}")
            )
    if errors:
        return errors
    for name, kind in (("ownerReferences", dict), ("finalizers", str)):
        if any(not isinstance(item, kind) for item in metadata.get(name) or ()):
            wanted = _SHAPE_NAMES[kind]
            errors.append(
                FieldError(TYPE_INVALID, f"metadata.{name}", f"Invalid value: items must be of type {wanted}")
            )
    return errors


def metadata_errors(storage: str, metadata: Mapping[str, Any]) -> list[FieldError]:
    """Errors of an object's metadata, except those of changes."""
    name = metadata.get("name") or ""
    errors = []
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    elif field_error := name_error(storage, name):
        errors.append(field_error)
    if labels := metadata.get("labels"):
        errors += label_errors(labels, "metadata.labels")
    if annotations := metadata.get("annotations"):
        errors += _annotation_errors(annotations)
    if owners := metadata.get("ownerReferences"):
        errors += _owner_errors(owners)
    for finalizer in metadata.get("finalizers") or ():
        if field_error := _qualified_name_error(finalizer, "metadata.finalizers"):
            errors.append(field_error)
    return errors
