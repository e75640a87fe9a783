"""One feature view, brought to what its spec says: observe, plan, list the writes, carry them out."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from millrace_core.base.errors import RejectError
from millrace_kube.cache import must_be_served
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS
from millrace_kube.resources import FEATURE_VIEWS, MODEL_DEPLOYMENTS, deleting
from millrace_kube.writes import carry_out
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.featureview import purge
from millrace_operators.featureview.acceptance import accept
from millrace_operators.featureview.emptied import LOOK_SECONDS, StoreRecord, question, record
from millrace_operators.featureview.observe import observe
from millrace_operators.featureview.plan import plan
from millrace_operators.featureview.protection import LOOK_AGAIN_SECONDS, release, rule
from millrace_operators.featureview.writes import report, unaccepted, writes
from millrace_operators.platform import Platform


async def reconcile(cluster: CachedClient, platform: Platform, facts: FactGatherer | None, key: Key) -> Requeue | None:
    """One turn; idempotent.

    Args:
        facts: what is known of the online store; None where there is nobody to ask.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    stored = await _stored(cluster, facts, key)  # first, because the cache goes on meanwhile
    must_be_served(cluster.cache, key.namespace, FEATURE_VIEWS, MODEL_DEPLOYMENTS)
    document = cluster.cache.get(FEATURE_VIEWS, key.namespace, key.name)
    if document is None:
        await purge.delete_jobs(cluster, platform, key.namespace, key.name)
        return None
    now = cluster.now()
    let_go = await release(cluster, document) if deleting(document) else None
    if let_go is not None and not let_go.held:
        return await purge.advance(cluster, platform, document, now, forced=let_go.forced)
    try:
        ruling = await rule(cluster, document)
        # Expressions are parsed and bound there, which other views need not wait for.
        view = await asyncio.to_thread(accept, ruling.document)
        observed = observe(cluster.cache, ruling, view, platform, now, held=let_go.held if let_go else "")
        observed = replace(observed, stored=stored or StoreRecord.THERE)
    except RejectError as error:
        await carry_out(cluster, unaccepted(document, error, now))
        return Requeue(LOOK_AGAIN_SECONDS) if let_go else None
    planned = plan(observed)
    listed = writes(platform, observed, planned)
    refused = await carry_out(cluster, listed, partial(report, platform, observed, planned))
    waits = [REFUSED_SECONDS] if refused is not None else []
    if stored is not None:
        waits.append(LOOK_SECONDS)
    if observed.held or ruling.refused is not None:
        waits.append(LOOK_AGAIN_SECONDS)
    if planned.wake:
        waits.append((planned.wake - now).total_seconds() + 0.01)
    return Requeue(min(waits)) if waits else None


async def _stored(cluster: CachedClient, facts: FactGatherer | None, key: Key) -> StoreRecord | None:
    """What the online store has of the view; None where it never had it, or nobody can be asked."""
    document = cluster.cache.get(FEATURE_VIEWS, key.namespace, key.name)
    asked = None if document is None or deleting(document) else question(document)
    if facts is None or asked is None or document is None:
        return None
    return record(document["status"], (await facts.gather([asked])).get(asked))
