"""Keeps a subset's endpoints for a moment when its DestinationRule changes ahead of the endpoints it now selects.

Rules and endpoints arrive by different watches, in no order: the labels of a new revision may be here before its pods
are. Without this the subset would be empty until they are, and its requests would fail although the old pods still
serve.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from millrace_local.mesh.clusters import Address, Clusters, Reach
from millrace_local.mesh.model import Destination

HOLD_SECONDS = 1.0


class Holding:
    """The subsets that are held, and since when."""

    def __init__(self) -> None:
        self._since: dict[Destination, float] = {}

    @property
    def active(self) -> bool:
        """Whether any subset is held, so that the mesh must be looked at again without a change."""
        return bool(self._since)

    def apply(self, old: Clusters, new: Clusters, ready: Set[Address], now: float) -> Clusters:
        """``new``, in which a subset that lost all endpoints at once keeps those of ``old`` that are still ready.

        Args:
            old: what Envoy has.
            new: what the objects say.
            ready: all ready endpoints; others are never kept.
            now: seconds of a clock that does not go back.
        """
        before = {reach.destination: reach.addresses for reach in old.reached}
        held: dict[Destination, float] = {}

        def kept(reach: Reach) -> Reach:
            usable = tuple(address for address in before.get(reach.destination, ()) if address in ready)
            since = self._since.get(reach.destination, now)
            if reach.addresses or not reach.destination.subset or not usable or now - since >= HOLD_SECONDS:
                return reach
            held[reach.destination] = since
            return replace(reach, addresses=usable)

        clusters = replace(new, reached=tuple(kept(reach) for reach in new.reached))
        self._since = held
        return clusters
