"""One service: its Experiments, each a turn of its state machine, and the route that follows from them.

All Experiments of a service are handled in one reconcile, and the route only here, so no two writers ever disagree.
"""

from __future__ import annotations

from typing import Final

from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import EXPERIMENTS, MODEL_DEPLOYMENTS
from millrace_operators.experiment.act import act
from millrace_operators.experiment.decide import decide
from millrace_operators.experiment.observe import missing_deployments, observe
from millrace_operators.routing.observe import must_be_served

# How soon to try again what the API server refused.
_REFUSED_SECONDS: Final = 30.0


async def reconcile(cluster: CachedClient, key: Key) -> Requeue | None:
    """One turn of the service ``key.name``; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cluster.cache, MODEL_DEPLOYMENTS, EXPERIMENTS)
    await _look_for_missing(cluster, key)
    observation = observe(cluster.cache, key.namespace, key.name, cluster.now())
    decision = decide(observation)
    refused = await act(cluster, decision)
    waits = [_REFUSED_SECONDS] if refused is not None else []
    if decision.next_look is not None:
        waits.append(max((decision.next_look - observation.now).total_seconds(), 0.0))
    return Requeue(min(waits)) if waits else None


async def _look_for_missing(cluster: CachedClient, key: Key) -> None:
    """Asks the API server for deployments that the cache lacks though the route or an Experiment names them.

    That one is gone moves traffic for good, so no cache is believed in it.
    """
    for name in missing_deployments(cluster.cache, key.namespace, key.name):
        await cluster.live(MODEL_DEPLOYMENTS, key.namespace, name)
