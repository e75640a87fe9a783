"""Errors of objects and schemas, worded as a Kubernetes API server words them.

Source of the wordings: ``k8s.io/apimachinery/pkg/util/validation/field`` and
``k8s.io/kube-openapi/pkg/validation/errors``.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from millrace_core.base.errors import RejectError

INVALID = "FieldValueInvalid"
REQUIRED = "FieldValueRequired"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
FORBIDDEN = "FieldValueForbidden"
TYPE_INVALID = "FieldValueTypeInvalid"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"

# Error types after which CEL rules are not evaluated, since the value does not fit the schema.
BLOCKING = frozenset({NOT_SUPPORTED, REQUIRED, TOO_LONG, TOO_MANY, TYPE_INVALID})

_LARGEST_PLAIN_FLOAT = 1e21  # Go's %v writes an exponent from here on


class FieldError(NamedTuple):
    """One cause of a 422: Kubernetes' cause type, the field's path, and the message without the path."""

    type: str
    path: str
    message: str


class SchemaError(RejectError):
    """A schema that a Kubernetes API server refuses; ``errors`` has all reasons."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.path}: {error.message}" for error in errors))
        self.errors = errors


_SHOWN = 400  # characters of a value: Kubernetes repeats it whole, but a refusal is not to be as long as what came


def quoted(text: str) -> str:
    """A string as Go's ``%q`` formats it."""
    return json.dumps(text, ensure_ascii=False)


def number(value: float) -> str:
    """A number as Go's ``%v`` formats it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_PLAIN_FLOAT:
        return str(int(value))
    return repr(value)


def shown(value: Any) -> str:
    """A bad value, as it appears after ``Invalid value:``; of a long one its beginning."""
    if isinstance(value, str):
        return quoted(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    text = (
        number(value)
        if isinstance(value, int | float)
        else json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    )
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(REQUIRED, path, f"Required value: {detail}" if detail else "Required value")


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(INVALID, path, f"Invalid value: {shown(value)}: {detail}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(FORBIDDEN, path, f"Forbidden: {detail}")


def not_supported(path: str, value: Any, supported: list[str]) -> FieldError:
    choices = ", ".join(quoted(choice) for choice in supported)
    return FieldError(NOT_SUPPORTED, path, f"Unsupported value: {shown(value)}: supported values: {choices}")
