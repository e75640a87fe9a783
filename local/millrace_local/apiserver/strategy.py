"""What a kind does beyond the general rules: defaults that need the server, checks, generation, grace."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, NamedTuple

from millrace_core.schema.errors import FieldError, invalid
from millrace_local.apiserver.jsonpath import value_at
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.store import ObjectStore

Obj = dict[str, Any]


class Draft(NamedTuple):
    """An object about to be stored, and what a strategy may read beside it.

    ``obj`` is changed in place; ``old`` is the stored object, ``None`` on create; ``subresource`` is what is written.
    """

    obj: Obj
    old: Obj | None
    store: ObjectStore
    registry: ResourceRegistry
    now: str
    subresource: str = ""


class Strategy:
    """The general rules; a kind's own strategy overrides what differs.

    The schema has been checked before, so types and required fields are as they should be. Then run ``default``, the
    record of who owns which field, ``prepare`` and ``check``: what ``default`` sets belongs to the writer, what
    ``prepare`` sets to nobody, as in Kubernetes.

    Attributes:
        generation: whether a change outside metadata and status raises ``metadata.generation``.
        has_spec: whether an absent spec stands for an empty one.
        status_metadata: whether a write to ``status`` may change labels and annotations.
        keeps_status_on_create: whether a create may bring a status along.
        lingers: whether something is always left to do between the delete and the removal.
        orphans: whether dependents survive a delete that names no propagation policy.
    """

    generation = True
    has_spec = False
    status_metadata = False
    keeps_status_on_create = False
    lingers = False
    orphans = False

    def default(self, obj: Obj) -> None:
        """Fills in defaults that the schema does not know, in place."""

    def prepare(self, draft: Draft) -> None:
        """Fills in what only the server can, in place; ``old`` is ``None`` on create."""

    def check(self, draft: Draft) -> list[FieldError]:  # noqa: ARG002 - overridden
        """Faults that the schema cannot express, and changes to what may not change."""
        return []

    def grace(self, obj: Obj, requested: int | None) -> int:  # noqa: ARG002 - overridden
        """Seconds between the delete and the removal."""
        return 0

    def deleting(self, obj: Obj) -> None:
        """Changes an object that has just been marked for deletion, in place."""

    def finished(self, obj: Obj) -> bool:
        """Whether an object that is marked for deletion has nothing left to wait for."""
        metadata = obj["metadata"]
        return not metadata.get("finalizers") and not metadata.get("deletionGracePeriodSeconds")


class NoGenerationStrategy(Strategy):
    """Kinds whose ``metadata.generation`` the API server does not count, such as ConfigMaps and Pods."""

    generation = False


def immutable(obj: Obj, old: Obj | None, *paths: str) -> list[FieldError]:
    """One error for each dotted path whose value an update changes."""
    if old is None:
        return []
    errors = []
    for path in paths:
        new, before = value_at(obj, path), value_at(old, path)
        if new != before:
            errors.append(invalid(path, new, "field is immutable"))
    return errors


def fill(holder: Obj, defaults: Obj) -> None:
    """Sets the fields that are absent or null; containers are copied."""
    for name, value in defaults.items():
        if holder.get(name) is None:
            holder[name] = deepcopy(value) if isinstance(value, dict | list) else value
