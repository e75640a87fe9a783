"""Observe, decide, act: carries out what ``plan`` and ``deletion`` decide about one view."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from millrace_core.api import conditions, names
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.base.errors import RejectError
from millrace_kube import errors
from millrace_kube.cached_client import CachedClient
from millrace_kube.platform import Platform
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import (
    CRON_JOBS,
    FEATURE_VIEWS,
    JOBS,
    PODS,
    Object,
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.featureview import desired, progress, runs
from millrace_operators.featureview import status as statuses
from millrace_operators.featureview.acceptance import accept
from millrace_operators.featureview.plan import Plan, plan
from millrace_operators.featureview.purge import FINALIZER, Purger
from millrace_operators.featureview.runs import Run
from millrace_operators.featureview.status import Situation
from millrace_operators.featureview.users import LOOK_AGAIN_SECONDS, refuse_breaking
from millrace_operators.featureview.view import View, lag_of


class Reconciler:
    """Brings feature views to what their specs say."""

    def __init__(self, cluster: CachedClient, platform: Platform) -> None:
        self._cluster = cluster
        self._platform = platform
        self._purger = Purger(cluster, platform)

    async def reconcile(self, key: Key) -> Requeue | None:
        """One view."""
        document = self._cluster.cache.get(FEATURE_VIEWS, key.namespace, key.name)
        if document is None:
            await self._purger.clear(key.namespace, key.name)
            return None
        if deleting(document):
            return await self._purger.let_go(document)
        try:
            view, schema_hash = accept(document)
            refuse_breaking(document, view.spec, names.cron_job(key.name), self._cluster.cache)
        except RejectError as error:
            generation = document["metadata"]["generation"]
            status = statuses.rejected(document.get("status") or {}, error, generation, self._cluster.now())
            await self._cluster.write_status(document, status)
            return Requeue(LOOK_AGAIN_SECONDS) if error.reason == conditions.IN_USE else None
        return await self._bring_about(document, view, schema_hash)

    async def _bring_about(self, document: Object, view: View, schema_hash: str) -> Requeue | None:
        now = self._cluster.now()
        observed = self._runs(document)
        known = progress.stored(document.get("status") or {}, schema_hash)
        begun = known or progress.begun(schema_hash, now, _lag(view))
        planned = plan(view, progress.fold(begun, observed), observed, now)
        situation = Situation(view, planned, now, _no_store(planned, self._platform))
        if planned.scheduled:
            await self._cluster.add_finalizer(document, FINALIZER)
        if known is None:
            # What the Jobs' names follow from is stored before there are any.
            unhandled = replace(planned, handled=view.handled, command_result=view.command_result)
            document = self._current(document)
            intended = statuses.status(document.get("status") or {}, situation._replace(plan=unhandled), _age(document))
            await self._cluster.write_status(document, intended)
        if situation.obstacle is None:
            situation = situation._replace(obstacle=await self._act(document, planned))
        document = self._current(document)
        status = statuses.status(document.get("status") or {}, situation, _age(document))
        await self._cluster.write_status(document, status)
        await self._after(document, view, planned)
        return Requeue((planned.wake - now).total_seconds() + 0.01) if planned.wake else None

    async def _act(self, document: Object, planned: Plan) -> RejectError | None:
        """The children; what the API server has against them."""
        namespace, name = namespace_of(document), name_of(document)
        for run in planned.discard:
            await self._cluster.delete(JOBS, namespace, run.name, uid=run.uid)
        made = planned.progress.definition
        cron_job = names.cron_job(name)
        try:
            if planned.scheduled:
                if desired.is_secret(self._platform.store_url):
                    secret = desired.store_secret(document, names.store_secret(name), self._platform.store_url)
                    await self._cluster.apply(secret)
                await self._cluster.apply(desired.cron_job(document, self._platform, made, suspended=planned.suspended))
            elif self._cluster.cache.get(CRON_JOBS, namespace, cron_job):
                await self._cluster.delete(CRON_JOBS, namespace, cron_job)
            if planned.job is not None:
                await self._cluster.apply(desired.one_shot_job(document, self._platform, made, planned.job))
        except RejectError as error:
            return error
        return None

    async def _after(self, document: Object, view: View, planned: Plan) -> None:
        if planned.refused is not None:
            note = f"command refused: {planned.refused}"
            await self._cluster.events.emit(
                document, "Warning", conditions.BAD_COMMAND, note, identity=[conditions.BAD_COMMAND, view.command]
            )
        for run in planned.outlived:
            await self._cluster.delete(JOBS, view.namespace, run.name, uid=run.uid)

    def _runs(self, document: Object) -> tuple[Run, ...]:
        cache, namespace, name = self._cluster.cache, namespace_of(document), name_of(document)
        jobs = [job for job in cache.select(JOBS, namespace, names.VIEW, name) if names.PROJECT not in labels_of(job)]
        return runs.observe(jobs, cache.select(PODS, namespace, names.VIEW, name), self._cluster.now())

    def _current(self, document: Object) -> Object:
        """The object with the resource version of our last write to it.

        Raises:
            ConflictError: its author has changed it meanwhile, so all that was decided is void.
        """
        current = self._cluster.cache.get(FEATURE_VIEWS, namespace_of(document), name_of(document))
        if current is None or _authored(current) != _authored(document):
            raise errors.ConflictError(f"{name_of(document)} has changed meanwhile", status=409)
        return current


def _no_store(planned: Plan, platform: Platform) -> RejectError | None:
    if not planned.scheduled or platform.store_url:
        return None
    return RejectError(
        "the operator knows no online store",
        hint="Set MILLRACE_STORE_URL for the operator, or spec.online.enabled to false",
        reason="NoOnlineStore",
    )


def _lag(view: View) -> timedelta:
    return lag_of(view.spec.materialization) if view.spec.materialization else timedelta(0)


def _age(document: Object) -> int:
    return int(document["metadata"]["generation"])


def _authored(document: Object) -> tuple[Any, ...]:
    """What an author decides about an object."""
    metadata = document["metadata"]
    return metadata["uid"], metadata["generation"], deleting(document), annotations_of(document).get(COMMAND_ANNOTATION)
