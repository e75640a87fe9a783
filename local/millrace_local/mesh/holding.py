"""Keeps a subset's endpoints for a moment when its DestinationRule changes before the endpoints that it now selects.

Rules and endpoints arrive by different watches, in no order: the labels of a new revision may come before its pods.
Without this the subset would be empty until then, and its requests would fail although the old pods still serve.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from millrace_local.mesh.clusters import Address, Clusters, Upstream
from millrace_local.mesh.model import Destination

HOLD_SECONDS = 1.0


class HeldSubsets:
    """The subsets whose old endpoints are kept, and since when."""

    def __init__(self) -> None:
        self._since: dict[Destination, float] = {}

    @property
    def active(self) -> bool:
        """Whether any subset is held, so that the mesh must be translated again without a change."""
        return bool(self._since)

    def apply(self, old: Clusters, new: Clusters, ready: Set[Address], now: float) -> Clusters:
        """``new``, but a subset that lost all endpoints at once keeps those of ``old`` that are still ready.

        Args:
            old: what Envoy has.
            new: what the objects say.
            ready: all ready endpoints; no others are kept.
            now: a monotonic time in seconds.
        """
        before = {upstream.destination: upstream.addresses for upstream in old.upstreams}
        held: dict[Destination, float] = {}

        def kept(upstream: Upstream) -> Upstream:
            usable = tuple(address for address in before.get(upstream.destination, ()) if address in ready)
            since = self._since.get(upstream.destination, now)
            if upstream.addresses or not upstream.destination.subset or not usable or now - since >= HOLD_SECONDS:
                return upstream
            held[upstream.destination] = since
            return replace(upstream, addresses=usable)

        clusters = replace(new, upstreams=tuple(kept(upstream) for upstream in new.upstreams))
        self._since = held
        return clusters
