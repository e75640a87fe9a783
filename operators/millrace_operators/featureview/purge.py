"""Deletes a view as ``deletion`` plans it: ends what it runs, deletes its online rows, removes the finalizer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from millrace_core.api import conditions, names
from millrace_kube.cache import must_be_current
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Requeue
from millrace_kube.refusals import REFUSED_SECONDS, Refusals
from millrace_kube.resources import CRON_JOBS, JOBS, PODS, Object, labels_of, name_of, namespace_of
from millrace_operators.featureview import deletion, desired, runs, status
from millrace_operators.featureview.runs import Run, RunState
from millrace_operators.featureview.writes import FINALIZER
from millrace_operators.platform import Platform

_ENDED: Final = ("Succeeded", "Failed")


async def advance(
    cluster: CachedClient, platform: Platform, document: Object, now: datetime, *, forced: str = ""
) -> Requeue | None:
    """One step of the deletion of a view that nobody reads, or that goes by force (``forced``: who reads it)."""
    if FINALIZER not in (document["metadata"].get("finalizers") or ()):
        return None
    before, generation = document.get("status") or {}, int(document["metadata"]["generation"])
    since = conditions.held_since(before.get("conditions"), conditions.DELETABLE)
    if since is None:  # before anything is deleted: from here on there is no way back
        going = status.purging(before, "its runs are ended", generation, now, forced=forced)
        document, since = await cluster.write_status(document, going), now
        before = document.get("status") or {}
    refusals = Refusals()
    children = await _end_children(cluster, document, refusals)
    purges = _purges(cluster, platform, namespace_of(document), name_of(document), now)
    planned = deletion.plan(
        released_at=since,
        now=now,
        children=children,
        purges=purges,
        store_url=platform.store_url,
    )
    if planned.finished:
        await _finish(cluster, platform, document, purges, planned.left_behind)
        return None
    if planned.attempt is not None:
        with refusals.noted():
            await cluster.apply(desired.purge_job(document, platform, planned.attempt))
    message = planned.reason if refusals.first is None else f"{planned.reason}: {refusals.first}"
    await cluster.write_status(document, status.purging(before, message, generation, now))
    waits = [REFUSED_SECONDS] if refusals.first is not None else []
    if planned.wake:
        waits.append((planned.wake - now).total_seconds() + 0.01)
    return Requeue(min(waits)) if waits else None


async def delete_jobs(cluster: CachedClient, platform: Platform, namespace: str, name: str) -> None:
    """Deletes the purge Jobs of a view that is gone."""
    await _delete(cluster, platform, _purges(cluster, platform, namespace, name, cluster.now()))


async def _finish(
    cluster: CachedClient, platform: Platform, document: Object, purges: tuple[Run, ...], left_behind: str
) -> None:
    if left_behind:
        await _report(cluster, document, left_behind)
    # Before the name is free again: a purge must never meet the rows of a successor.
    await _delete(cluster, platform, (run for run in purges if run.state is RunState.ACTIVE))
    await cluster.remove_finalizer(document, FINALIZER)
    await _delete(cluster, platform, purges)


async def _delete(cluster: CachedClient, platform: Platform, purges: Iterable[Run]) -> None:
    for run in purges:
        await cluster.delete(JOBS, platform.namespace, run.name, uid=run.uid)


async def _end_children(cluster: CachedClient, document: Object, refusals: Refusals) -> list[str]:
    """Deletes what writes rows of the view; gives what is left of it afterwards."""
    cache, namespace, view = cluster.cache, namespace_of(document), name_of(document)
    makers = [
        (resource, child)
        for resource in (CRON_JOBS, JOBS)
        for child in cache.select(resource, namespace, names.VIEW, view)
        if names.PROJECT not in labels_of(child)
    ]
    for resource, child in makers:
        with refusals.noted():
            await cluster.delete(resource, namespace, name_of(child), uid=child["metadata"]["uid"])
    left = [
        f"{resource.kind} {name_of(child)}"
        for resource, child in makers
        if cache.get(resource, namespace, name_of(child)) is not None
    ]
    for pod in cache.select(PODS, namespace, names.VIEW, view):
        if names.PROJECT not in labels_of(pod) and (pod.get("status") or {}).get("phase") not in _ENDED:
            left.append(f"{PODS.kind} {name_of(pod)}")
    return left


def _purges(cluster: CachedClient, platform: Platform, namespace: str, name: str, now: datetime) -> tuple[Run, ...]:
    must_be_current(cluster.cache, platform.namespace, JOBS, PODS)
    jobs, pods = (
        [
            child
            for child in cluster.cache.select(resource, platform.namespace, names.PROJECT, namespace)
            if labels_of(child).get(names.VIEW) == name
        ]
        for resource in (JOBS, PODS)
    )
    return runs.of_jobs(jobs, pods, now)


async def _report(cluster: CachedClient, document: Object, why: str) -> None:
    ttl = document["spec"].get("ttl")
    fate = f"They expire {ttl} after their event times" if ttl else "The view has no ttl, so they stay"
    note = (
        f"online rows of {namespace_of(document)}/{name_of(document)} may be left in the store: {why}. {fate}; "
        "to delete them, create the view again and delete it while the store answers"
    )
    await cluster.events.emit(document, "Warning", "PurgeIncomplete", note, identity="PurgeIncomplete")
