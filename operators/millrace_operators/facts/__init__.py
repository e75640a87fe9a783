"""Facts: what operators need to know and their cache of Kubernetes objects does not hold.

The middle stage of a turn. An operator observes its cache, asks for the facts that the observation lacks, and decides
on both. Pure code says *what* it needs (a ``FactRequest``, a plain value) and reads *what is known* (a ``Fact``:
``Known`` with its source and its time, ``Absent``, ``Stale`` or ``Failed``); only sources do I/O. They stand here,
beside the operators and not inside one, because gates, drift and experiments ask the same sources of the same things.

To add a source, write a file with its request and its ``FactSource`` (``live_objects`` is a short one), and add its
line below. ``fact`` (what is known) · ``source`` (the seam) · ``gathering`` (the stage).
"""

from __future__ import annotations

from millrace_core.base.bearer import OPEN, Bearer
from millrace_kube.cached_client import CachedClient
from millrace_operators.facts.copies_compared import LoggedPredictions
from millrace_operators.facts.live_objects import LiveObjects
from millrace_operators.facts.outcome_sums import Outcomes
from millrace_operators.facts.prometheus import Prometheus
from millrace_operators.facts.source import FactSource
from millrace_operators.facts.stored_views import StoredViews


def sources(
    cluster: CachedClient, gateway_url: str = "", prometheus_url: str = "", bearer: Bearer = OPEN
) -> list[FactSource]:
    """Every source, one line each; that of a service that there is not is left out. ``bearer`` goes to the gateway."""
    return [
        LiveObjects(cluster),
        Prometheus(prometheus_url, cluster.now),
        Outcomes(gateway_url, cluster.now, bearer),
        LoggedPredictions(gateway_url, cluster.now, bearer),
        *([StoredViews(gateway_url, cluster.now, bearer)] if gateway_url else []),
    ]
