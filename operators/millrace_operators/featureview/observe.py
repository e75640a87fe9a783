"""What the cache holds of a feature view and of what belongs to it, gathered once per turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace_core.api import names
from millrace_core.base.errors import RejectError
from millrace_kube.cache import Cache
from millrace_kube.resources import (
    CRON_JOBS,
    FEATURE_VIEWS,
    JOBS,
    PODS,
    Object,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.featureview import desired, runs
from millrace_operators.featureview.emptied import StoreRecord
from millrace_operators.featureview.protection import Ruling
from millrace_operators.featureview.runs import Run
from millrace_operators.featureview.view import View
from millrace_operators.platform import Platform


@dataclass(frozen=True)
class ViewObservation:
    """A feature view at one moment.

    Attributes:
        document: the object, with the spec in effect.
        view: the same, compiled.
        runs: its Jobs, whoever made them.
        cron_job: its CronJob, where there is one.
        rendering: digest of what the pods of a run made now would run, see ``desired.rendering``.
        views: the views of the namespace that stay, this one among them; they share a Secret.
        refused: why the spec in effect is not the one that somebody wrote.
        forced: whom a change breaks that goes ahead by force.
        held: why the view is still there although it is being deleted; empty where it is not.
        stored: what the online store has of the view.
        now: the moment.
    """

    document: Object
    view: View
    now: datetime
    runs: Sequence[Run] = ()
    cron_job: Object | None = None
    rendering: str = ""
    views: Sequence[Object] = ()
    refused: RejectError | None = None
    forced: tuple[str, ...] = ()
    held: str = ""
    stored: StoreRecord = StoreRecord.THERE

    @property
    def status(self) -> Mapping[str, Any]:
        """The stored status."""
        return self.document.get("status") or {}


def observe(
    cache: Cache, ruling: Ruling, view: View, platform: Platform, now: datetime, *, held: str = ""
) -> ViewObservation:
    """Gathers all that a plan depends on; ``view`` is what the ruling's document defines."""
    document = ruling.document
    namespace, name = namespace_of(document), name_of(document)
    # Purge Jobs say whose view they purge, and are no runs.
    jobs = [job for job in cache.select(JOBS, namespace, names.VIEW, name) if names.PROJECT not in labels_of(job)]
    return ViewObservation(
        document=document,
        view=view,
        now=now,
        runs=runs.of_jobs(jobs, cache.select(PODS, namespace, names.VIEW, name), now),
        cron_job=cache.get(CRON_JOBS, namespace, names.cron_job(name)),
        rendering=desired.rendering(document, platform),
        views=[each for each in cache.all(FEATURE_VIEWS, namespace) if not deleting(each) or name_of(each) == name],
        refused=ruling.refused,
        forced=ruling.forced,
        held=held,
    )
