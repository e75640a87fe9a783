"""What is written of a view's plan, in order. Pure.

The definition in effect stands in the status before anything is made of it: names of Jobs follow from it, and it must
not be lost. What is left
of a run is deleted after the status that holds its result.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from millrace_core.api import conditions, names
from millrace_core.api.in_effect import accepted_spec
from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube.events import Emit
from millrace_kube.resources import CRON_JOBS, JOBS, Object
from millrace_kube.writes import AddFinalizer, Apply, Delete, InOrder, Write, WriteStatus
from millrace_operators.featureview import desired
from millrace_operators.featureview import status as statuses
from millrace_operators.featureview.observe import ViewObservation
from millrace_operators.featureview.plan import ViewPlan
from millrace_operators.featureview.protection import is_foreground
from millrace_operators.featureview.status import StatusContext
from millrace_operators.platform import Platform

# Holds a view until its online rows are deleted.
FINALIZER: Final = "millrace.dev/purge"


def writes(platform: Platform, observed: ViewObservation, planned: ViewPlan) -> list[Write]:
    """The finalizer, a new definition, and the children."""
    guard = [AddFinalizer(observed.document, FINALIZER)] if planned.scheduled else []
    obstacle = _no_store(platform, planned)
    new = planned.new_definition or accepted_spec(observed.document) != observed.document["spec"]
    before = [_status(observed, _unhandled(observed, planned), obstacle, told=_forced(observed))] if new else []
    if obstacle is not None or is_foreground(observed.document):
        return [*guard, *before]
    return [*guard, *before, *_children(platform, observed, planned)]


def report(
    platform: Platform, observed: ViewObservation, planned: ViewPlan, refused: MillraceError | None
) -> list[Write]:
    """The status, what is told beside it, and what can go once it is written."""
    view, document, said = observed.view, observed.document, planned
    if refused is not None and planned.job is not None:  # a command whose Job was not made is still to be handled
        said = _unhandled(observed, planned)
    told: tuple[Emit, ...] = ()
    if planned.refused is not None:
        note, identity = f"command refused: {planned.refused}", [conditions.BAD_COMMAND, view.command]
        told = (Emit(document, "Warning", conditions.BAD_COMMAND, note, identity),)
    return [
        _status(observed, said, refused or _no_store(platform, planned), told),
        *(Delete(JOBS, view.namespace, run.name, run.uid) for run in planned.prunable),
    ]


def unaccepted(observed: Object, error: RejectError, now: datetime) -> list[Write]:
    """Of a view whose definition is wrong, and that had none before."""
    return [WriteStatus(observed, statuses.rejected(observed.get("status") or {}, error, _generation(observed), now))]


def _children(platform: Platform, observed: ViewObservation, planned: ViewPlan) -> list[Write]:
    """A Job needs the Secret, and the CronJob, which holds the definition in force."""
    document, namespace, name = observed.document, observed.view.namespace, observed.view.name
    definition = planned.progress.definition
    needed: list[Apply | Delete] = []
    if planned.scheduled:
        if desired.is_secret(platform.store_url):
            needed.append(Apply(desired.store_secret(observed.views, platform.store_url)))
        needed.append(Apply(desired.cron_job(document, platform, definition, suspended=planned.suspended)))
    elif observed.cron_job is not None:
        needed.append(Delete(CRON_JOBS, namespace, names.cron_job(name)))
    for request in filter(None, (planned.kept, planned.job)):
        needed.append(Apply(desired.one_shot_job(document, platform, definition, request)))
    void = [Delete(JOBS, namespace, run.name, run.uid) for run in planned.void_runs]
    return [*void, InOrder(tuple(needed))]


def _forced(observed: ViewObservation) -> tuple[Emit, ...]:
    if not observed.forced:
        return ()
    document, note = observed.document, f"the definition is changed by force: {'; '.join(observed.forced)}"
    return (Emit(document, "Warning", conditions.FORCED, note, [conditions.FORCED, _generation(document)]),)


def _status(
    observed: ViewObservation, said: ViewPlan, obstacle: MillraceError | None, told: tuple[Emit, ...] = ()
) -> WriteStatus:
    context = StatusContext(observed.view, said, observed.now, obstacle, observed.refused, observed.held)
    document = observed.document
    written = statuses.status(observed.status, context, document["spec"], _generation(document))
    return WriteStatus(document, written, events=told)


def _unhandled(observed: ViewObservation, planned: ViewPlan) -> ViewPlan:
    return replace(planned, handled=observed.view.handled, command_result=observed.view.command_result)


def _no_store(platform: Platform, planned: ViewPlan) -> RejectError | None:
    if not planned.scheduled or platform.store_url:
        return None
    return RejectError(
        "the operator knows no online store",
        hint="Set MILLRACE_STORE_URL for the operator, or spec.online.enabled to false",
        reason="NoOnlineStore",
    )


def _generation(document: Object) -> int:
    return int(document["metadata"]["generation"])
