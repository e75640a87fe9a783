"""A schema ready for use: defaulting, pruning and validation of whole objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.local.apiserver.schema.defaulting import compile_defaulting
from millrace.local.apiserver.schema.errors import FieldError
from millrace.local.apiserver.schema.node import Node, build
from millrace.local.apiserver.schema.pruning import compile_pruning, dotted
from millrace.local.apiserver.schema.validation import compile_checks


class Schema:
    """The compiled schema of one version of one kind; ``root`` is what patches and ownership go by."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self._default = compile_defaulting(root)
        self._prune = compile_pruning(root)
        self._checks = compile_checks(root)

    def default(self, obj: dict[str, Any]) -> None:
        """Fills in defaults and drops nulls that are not allowed, in place."""
        if self._default is not None:
            self._default(obj)

    def prune(self, obj: dict[str, Any]) -> list[str]:
        """Drops unknown fields in place; gives their paths, sorted, such as ``spec.arms[0].wieght``."""
        dropped = self._prune(obj) if self._prune is not None else None
        return sorted(dotted(path) for path in dropped) if dropped else []

    def validate(self, obj: dict[str, Any], old: dict[str, Any] | None = None) -> list[FieldError]:
        """Every fault of ``obj``; with ``old``, faults of unchanged values are let pass as Kubernetes does."""
        check = self._checks[dict]
        problems = check(obj) if check is not None else None
        return [problem.worded() for problem in problems] if problems else []


def compile_schema(open_api_v3_schema: Mapping[str, Any]) -> Schema:
    """Compiles an ``openAPIV3Schema``; raises SchemaError with every reason for which Kubernetes would refuse it."""
    return Schema(build(open_api_v3_schema, whole_object=True))
