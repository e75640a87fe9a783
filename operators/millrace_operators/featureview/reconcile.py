"""One feature view, brought to what its spec says: observe, plan, list the writes, carry them out."""

from __future__ import annotations

from functools import partial

from millrace_core.api import conditions
from millrace_core.base.errors import RejectError
from millrace_kube.cache import must_be_served
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS
from millrace_kube.resources import FEATURE_VIEWS, MODEL_DEPLOYMENTS, deleting
from millrace_kube.writes import carry_out
from millrace_operators.featureview import purge
from millrace_operators.featureview.observe import observe
from millrace_operators.featureview.plan import plan
from millrace_operators.featureview.readers import LOOK_AGAIN_SECONDS, refuse_breaking
from millrace_operators.featureview.writes import report, unaccepted, writes
from millrace_operators.platform import Platform


async def reconcile(cluster: CachedClient, platform: Platform, key: Key) -> Requeue | None:
    """One turn; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cluster.cache, FEATURE_VIEWS, MODEL_DEPLOYMENTS)
    document = cluster.cache.get(FEATURE_VIEWS, key.namespace, key.name)
    if document is None:
        await purge.delete_jobs(cluster, platform, key.namespace, key.name)
        return None
    now = cluster.now()
    if deleting(document):
        return await purge.advance(cluster, platform, document, now)
    try:
        observed = observe(cluster.cache, document, platform, now)
        refuse_breaking(observed.view.definition, observed.cron_job, observed.readers)
    except RejectError as error:
        await carry_out(cluster, unaccepted(document, error, now))
        return Requeue(LOOK_AGAIN_SECONDS) if error.reason == conditions.IN_USE else None
    planned = plan(observed)
    listed = writes(platform, observed, planned)
    refused = await carry_out(cluster, listed, partial(report, platform, observed, planned))
    waits = [REFUSED_SECONDS] if refused is not None else []
    if planned.wake:
        waits.append((planned.wake - now).total_seconds() + 0.01)
    return Requeue(min(waits)) if waits else None
