"""One service: its Experiments, each a turn of its state machine, and the route that follows from them.

All Experiments of a service are handled in one reconcile, and the route only here, so no two writers ever disagree.
"""

from __future__ import annotations

import logging
from functools import partial

from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS
from millrace_kube.writes import carry_out
from millrace_operators.experiment.decide import decide
from millrace_operators.experiment.observation import ServiceObservation
from millrace_operators.experiment.observe import observe
from millrace_operators.experiment.writes import report, writes
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.resilience import Resilience

_log = logging.getLogger(__name__)


async def reconcile(cluster: CachedClient, facts: FactGatherer, resilience: Resilience, key: Key) -> Requeue | None:
    """One turn of the service ``key.name``; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    observation = await _gather(cluster, facts, resilience, key)
    decision = decide(observation)
    if decision.changes.waits_for:
        names = ", ".join(decision.changes.waits_for)
        _log.warning("%s: the route stays as it is until it is known whether %s exists", key, names)
    planned = writes(decision)
    refused = await carry_out(cluster, planned, partial(report, decision))
    waits = [REFUSED_SECONDS] if refused is not None else []
    if decision.next_look is not None:
        waits.append((decision.next_look - observation.now).total_seconds())
    return Requeue(min(waits)) if waits else None


async def _gather(cluster: CachedClient, facts: FactGatherer, resilience: Resilience, key: Key) -> ServiceObservation:
    """What the cache holds, and the facts that it does not; asking for them takes time, so it is read anew then."""
    observation = observe(cluster.cache, key.namespace, key.name, cluster.now(), resilience=resilience)
    if not observation.needs:
        return observation
    found = await facts.gather(observation.needs)
    return observe(cluster.cache, key.namespace, key.name, cluster.now(), found, resilience=resilience)
