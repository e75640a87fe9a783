"""One feature view, brought to what its spec says: observe, plan, act."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millrace_core.api import conditions, names
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube import errors
from millrace_kube.cache import must_be_served
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS, Refusals
from millrace_kube.resources import (
    CRON_JOBS,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    Object,
    annotations_of,
    deleting,
    name_of,
    namespace_of,
)
from millrace_operators.featureview import desired, purge
from millrace_operators.featureview import status as statuses
from millrace_operators.featureview.observe import ViewObservation, observe
from millrace_operators.featureview.plan import ViewPlan, plan
from millrace_operators.featureview.readers import LOOK_AGAIN_SECONDS, refuse_breaking
from millrace_operators.featureview.status import StatusContext
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
        status = statuses.rejected(document.get("status") or {}, error, _generation(document), now)
        await cluster.write_status(document, status)
        return Requeue(LOOK_AGAIN_SECONDS) if error.reason == conditions.IN_USE else None
    planned = plan(observed)
    refused = await _carry_out(cluster, platform, observed, planned)
    waits = [REFUSED_SECONDS] if refused is not None else []
    if planned.wake:
        waits.append((planned.wake - now).total_seconds() + 0.01)
    return Requeue(min(waits)) if waits else None


async def _carry_out(
    cluster: CachedClient, platform: Platform, observed: ViewObservation, planned: ViewPlan
) -> MillraceError | None:
    """Does and says what was planned; gives the first refusal of the API server."""
    document, view, refusals = observed.document, observed.view, Refusals()
    context = StatusContext(view, planned, observed.now, _no_store(planned, platform))
    if planned.scheduled:
        await cluster.add_finalizer(document, purge.FINALIZER)
    unhandled = replace(planned, handled=view.handled, command_result=view.command_result)
    if planned.new_definition:
        # The names of Jobs follow from what is stored here, so it is stored before there are any.
        await _write_status(cluster, document, context._replace(plan=unhandled))
    if context.obstacle is None:
        await _write_children(cluster, platform, observed, planned, refusals)
    if refusals.first is not None:  # a command whose Job was not made is still to be handled
        context = context._replace(obstacle=refusals.first, plan=planned if planned.job is None else unhandled)
    await _write_status(cluster, document, context)
    if planned.refused is not None:
        note, identity = f"command refused: {planned.refused}", [conditions.BAD_COMMAND, view.command]
        await cluster.events.emit(document, "Warning", conditions.BAD_COMMAND, note, identity=identity)
    for run in planned.prunable:  # their results are in the status now
        with refusals.noted():
            await cluster.delete(JOBS, view.namespace, run.name, uid=run.uid)
    return refusals.first


async def _write_children(
    cluster: CachedClient, platform: Platform, observed: ViewObservation, planned: ViewPlan, refusals: Refusals
) -> None:
    """Writes the children. A Job needs the Secret, and the CronJob, which holds the definition in force."""
    document, namespace, name = observed.document, observed.view.namespace, observed.view.name
    for run in planned.void_runs:
        with refusals.noted():
            await cluster.delete(JOBS, namespace, run.name, uid=run.uid)
    definition = planned.progress.definition
    with refusals.noted():
        if planned.scheduled:
            if desired.is_secret(platform.store_url):
                views = [each for each in cluster.cache.all(FEATURE_VIEWS, namespace) if not deleting(each)]
                await cluster.apply(desired.store_secret(views, platform.store_url))
            await cluster.apply(desired.cron_job(document, platform, definition, suspended=planned.suspended))
        elif observed.cron_job is not None:
            await cluster.delete(CRON_JOBS, namespace, names.cron_job(name))
        for request in filter(None, (planned.kept, planned.job)):
            await cluster.apply(desired.one_shot_job(document, platform, definition, request))


async def _write_status(cluster: CachedClient, document: Object, context: StatusContext) -> None:
    current = _current(cluster, document)
    status = statuses.status(current.get("status") or {}, context, _generation(current))
    await cluster.write_status(current, status)


def _current(cluster: CachedClient, document: Object) -> Object:
    """The object with the resource version of our last write to it.

    Raises:
        ConflictError: its author has changed it meanwhile, so the plan is void.
    """
    current = cluster.cache.get(FEATURE_VIEWS, namespace_of(document), name_of(document))
    if current is None or _authored(current) != _authored(document):
        raise errors.ConflictError(f"{name_of(document)} has changed meanwhile", status=409)
    return current


def _no_store(planned: ViewPlan, platform: Platform) -> RejectError | None:
    if not planned.scheduled or platform.store_url:
        return None
    return RejectError(
        "the operator knows no online store",
        hint="Set MILLRACE_STORE_URL for the operator, or spec.online.enabled to false",
        reason="NoOnlineStore",
    )


def _generation(document: Object) -> int:
    return int(document["metadata"]["generation"])


def _authored(document: Object) -> tuple[Any, ...]:
    """What the author of an object decides, and so what a plan depends on."""
    metadata = document["metadata"]
    return metadata["uid"], metadata["generation"], deleting(document), annotations_of(document).get(COMMAND_ANNOTATION)
