"""A compiled schema: defaulting, pruning and validation of whole objects."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import orjson

from millrace_core.schema.correlation import new_violations
from millrace_core.schema.defaulting import compile_defaulting
from millrace_core.schema.defaults import default_errors
from millrace_core.schema.errors import BLOCKING, FieldError, SchemaError, invalid
from millrace_core.schema.keywords import without_nulls
from millrace_core.schema.node import SchemaNode, build
from millrace_core.schema.pruning import compile_pruning, dotted
from millrace_core.schema.rule_evaluation import broken_rules
from millrace_core.schema.rules import RuleNode, compile_rules
from millrace_core.schema.structural import structural_errors
from millrace_core.schema.validation import compile_checks

#: What paths of schema errors begin with.
ROOT_PATH = "openAPIV3Schema"

_KIND = "x-kubernetes-group-version-kind"
_UNCHECKED = invalid(
    "<nil>",
    None,
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


class Schema:
    """The compiled schema of one version of one kind; patches and field ownership use ``root``."""

    def __init__(self, root: SchemaNode, rules: RuleNode | None = None) -> None:
        self.root = root
        self._rules = rules
        self._default = compile_defaulting(root)
        self._prune = compile_pruning(root)
        self._check = compile_checks(root)[dict]

    def default(self, obj: dict[str, Any]) -> None:
        """Sets defaults and drops nulls that are not allowed, in place."""
        if self._default is not None:
            self._default(obj)

    def prune(self, obj: dict[str, Any]) -> list[str]:
        """Drops unknown fields in place; returns their paths, sorted, such as ``spec.arms[0].wieght``."""
        dropped = self._prune(obj) if self._prune is not None else None
        return sorted(dotted(path) for path in dropped) if dropped else []

    def validate(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[FieldError]:
        """All errors of ``obj``; given ``old``, errors in parts that did not change pass, as in Kubernetes."""
        violations = (self._check(obj) if self._check is not None else None) or []
        if violations and old is not None and self._check is not None:
            violations = new_violations(violations, self.root, obj, old, self._check(old) or [])
        field_errors = [violation.worded() for violation in violations]
        if self._rules is None:
            return field_errors
        if any(field_error.type in BLOCKING for field_error in field_errors):
            return [*field_errors, _UNCHECKED]
        return field_errors + [violation.worded() for violation in broken_rules(self._rules, obj, old)]


def compile_schema(open_api_v3_schema: Mapping[str, Any]) -> Schema:
    """Compiles an ``openAPIV3Schema``; raises SchemaError with every reason for which Kubernetes refuses it.

    The published schemas of the built-in kinds, which name their kind, are not checked. The schema is JSON;
    equal ones are
    compiled once.
    """
    if _KIND in open_api_v3_schema:
        return Schema(build(open_api_v3_schema, whole_object=True))
    try:
        document = orjson.dumps(open_api_v3_schema)
    except TypeError as error:
        raise SchemaError([invalid(ROOT_PATH, "", f"must be JSON with numbers of 64 bits: {error}")]) from error
    return _compile(document)


@functools.lru_cache(maxsize=64)
def _compile(document: bytes) -> Schema:
    """Cached, since versions of a CRD often have one schema, and a CRD is checked before it is used."""
    written: dict[str, Any] = orjson.loads(document)
    errors = structural_errors(written, ROOT_PATH)
    if errors:
        raise SchemaError(errors)
    raw = without_nulls(written)
    root = build(raw, whole_object=True)
    rules, errors = compile_rules(raw, ROOT_PATH)
    errors = [*default_errors(root, None if errors else rules, ROOT_PATH), *errors]
    if errors:
        raise SchemaError(errors)
    return Schema(root, rules)
