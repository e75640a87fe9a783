"""What each kind does beyond the general rules: defaults that need the server, checks, generation, grace."""

from __future__ import annotations

from typing import Any, NamedTuple

from millrace.local.apiserver.registry import Registry
from millrace.local.apiserver.schema.errors import FieldError
from millrace.local.apiserver.store import Store

Obj = dict[str, Any]


class Cluster(NamedTuple):
    """What a strategy may look at beside the object itself."""

    store: Store
    registry: Registry
    now: str


class Strategy:
    """The general rules; a kind's own strategy overrides what differs.

    Attributes:
        generation: whether a change outside metadata and status raises ``metadata.generation``.
        status_metadata: whether a write to ``status`` may change labels and annotations.
        orphans: whether dependents survive a delete that names no propagation policy.
    """

    generation = True
    status_metadata = False
    keeps_status_on_create = False
    orphans = False

    def prepare(self, obj: Obj, old: Obj | None, cluster: Cluster) -> None:
        """Fills in what only the server can, in place, after defaulting; ``old`` is ``None`` on create."""

    def check(self, obj: Obj, old: Obj | None, cluster: Cluster) -> list[FieldError]:
        """Faults that the schema cannot express, and changes to what may not change."""
        return []

    def grace(self, obj: Obj, asked: int | None) -> int:
        """Seconds between the delete and the removal."""
        return 0

    def deleting(self, obj: Obj) -> None:
        """Changes an object that has just been marked for deletion, in place."""


class Plain(Strategy):
    """Kinds without spec and status, such as ConfigMaps: no generation."""

    generation = False
