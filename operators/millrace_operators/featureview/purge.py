"""Lets a deleted view go: carries out what ``deletion`` decides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_kube.cached_client import CachedClient
from millrace_kube.platform import Platform
from millrace_kube.queue import Requeue
from millrace_kube.resources import CRON_JOBS, JOBS, PODS, Object, labels_of, name_of, namespace_of
from millrace_operators.featureview import deletion, desired, runs, status
from millrace_operators.featureview.runs import Run, State

FINALIZER: Final = "millrace.dev/purge"

_ENDED: Final = ("Succeeded", "Failed")


class Purger:
    """Ends what a view runs, deletes its online rows, and removes the finalizer."""

    def __init__(self, cluster: CachedClient, platform: Platform) -> None:
        self._cluster = cluster
        self._platform = platform

    async def let_go(self, document: Object) -> Requeue | None:
        """One step of the way."""
        if FINALIZER not in (document["metadata"].get("finalizers") or ()):
            return None
        now = self._cluster.now()
        children = await self._end_children(document)
        purges = self._purges(namespace_of(document), name_of(document))
        planned = deletion.plan(
            asked_at=timestamps.parse(document["metadata"]["deletionTimestamp"]),
            now=now,
            children=children,
            purges=purges,
            store_url=self._platform.store_url,
        )
        if planned.finished:
            await self._finish(document, purges, planned.left_behind)
            return None
        if planned.attempt is not None:
            await self._make_job(document, planned.attempt)
        before, generation = document.get("status") or {}, int(document["metadata"]["generation"])
        await self._cluster.write_status(document, status.purging(before, planned.reason, generation, now))
        return Requeue((planned.wake - now).total_seconds() + 0.01) if planned.wake else None

    async def _finish(self, document: Object, purges: tuple[Run, ...], left_behind: str) -> None:
        if left_behind:
            await self._report(document, left_behind)
        # Before the name is free again: a purge must never meet the rows of a successor.
        await self._delete(run for run in purges if run.state is State.ACTIVE)
        await self._cluster.remove_finalizer(document, FINALIZER)
        await self._delete(purges)

    async def clear(self, namespace: str, name: str) -> None:
        """Of a view that has gone: deletes the purge Jobs that are left."""
        await self._delete(self._purges(namespace, name))

    async def _delete(self, purges: Iterable[Run]) -> None:
        for run in purges:
            await self._cluster.delete(JOBS, self._platform.namespace, run.name, uid=run.uid)

    async def _end_children(self, document: Object) -> list[str]:
        """Deletes what of the view writes rows; says what of it is still there."""
        cache, namespace, view = self._cluster.cache, namespace_of(document), name_of(document)
        makers = [
            (resource, child)
            for resource in (CRON_JOBS, JOBS)
            for child in cache.select(resource, namespace, names.VIEW, view)
            if names.PROJECT not in labels_of(child)
        ]
        for resource, child in makers:
            await self._cluster.delete(resource, namespace, name_of(child), uid=child["metadata"]["uid"])
        there = [
            f"{resource.kind} {name_of(child)}"
            for resource, child in makers
            if cache.get(resource, namespace, name_of(child)) is not None
        ]
        for pod in cache.select(PODS, namespace, names.VIEW, view):
            if names.PROJECT not in labels_of(pod) and (pod.get("status") or {}).get("phase") not in _ENDED:
                there.append(f"{PODS.kind} {name_of(pod)}")
        return there

    def _purges(self, namespace: str, name: str) -> tuple[Run, ...]:
        cache, own = self._cluster.cache, self._platform.namespace
        jobs, pods = (
            [
                child
                for child in cache.select(resource, own, names.PROJECT, namespace)
                if labels_of(child).get(names.VIEW) == name
            ]
            for resource in (JOBS, PODS)
        )
        return runs.observe(jobs, pods, self._cluster.now())

    async def _make_job(self, document: Object, attempt: int) -> None:
        job, url = desired.purge_job(document, self._platform, attempt), self._platform.store_url
        await self._cluster.apply(job)
        made = self._cluster.cache.get(JOBS, self._platform.namespace, name_of(job))
        if made is not None and desired.is_secret(url):
            await self._cluster.apply(desired.store_secret(made, name_of(job), url))

    async def _report(self, document: Object, why: str) -> None:
        ttl = document["spec"].get("ttl")
        fate = f"They expire {ttl} after their event times" if ttl else "The view has no ttl, so they stay"
        note = (
            f"online rows of {namespace_of(document)}/{name_of(document)} may be left in the store: {why}. {fate}; "
            "to delete them, create the view again and delete it while the store answers"
        )
        await self._cluster.events.emit(document, "Warning", "PurgeIncomplete", note, identity="PurgeIncomplete")
