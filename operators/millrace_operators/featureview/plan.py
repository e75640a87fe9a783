"""What to do about a view now. Pure: an observation to a frozen plan with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from millrace_core.api.materialization import Materialization
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview import command, intervals, next_job, progress, runs
from millrace_operators.featureview.command import PendingCommand
from millrace_operators.featureview.emptied import StoreRecord
from millrace_operators.featureview.intervals import BEGINNING, Interval
from millrace_operators.featureview.next_job import JobContext, JobDecision, JobRequest
from millrace_operators.featureview.observe import ViewObservation
from millrace_operators.featureview.progress import MaterializationProgress
from millrace_operators.featureview.runs import Run, RunState
from millrace_operators.featureview.view import View, lag_of, stale_at


@dataclass(frozen=True)
class ViewPlan:
    """What is to be done, in this order: delete ``void_runs``, write or delete the CronJob, make ``job``, write the
    status, delete ``prunable``.

    Args:
        progress: with the results of all runs that have ended.
        new_definition: whether this definition is seen for the first time.
        scheduled: whether there is a CronJob; ``suspended``: whether it is suspended.
        reason: why ``job`` is made, or why none is.
        void_runs: runs whose Jobs must go: of another definition, or with their result lost.
        prunable: finished one-shot runs whose results the status holds.
        gaps: the intervals since startFrom that are missing, oldest first.
        active: a run at work; ``kept``: what it was made for, where its Job is still as it would be made now.
        stale_at: when the view stops being fresh, if no run succeeds until then.
        wake: when to plan again, even if nothing happens until then.
        handled: the last command that is dealt with; ``command_result``: what became of it.
        refused: why a command is refused; for an Event.
        emptied: whether the online store has lost what it had of the view.
    """

    progress: MaterializationProgress
    new_definition: bool
    scheduled: bool
    suspended: bool
    reason: str
    job: JobRequest | None = None
    void_runs: tuple[Run, ...] = ()
    prunable: tuple[Run, ...] = ()
    gaps: tuple[Interval, ...] = ()
    active: Run | None = None
    kept: JobRequest | None = None
    stale_at: datetime | None = None
    wake: datetime | None = None
    handled: str = ""
    command_result: str | None = None
    refused: RejectError | None = None
    emptied: bool = False


def plan(observed: ViewObservation) -> ViewPlan:
    """The plan."""
    view, materialization = observed.view, observed.view.spec.materialization
    known = progress.stored(observed.status, view.definition.schema_hash)
    begun = known or progress.begun(view.definition.schema_hash, observed.now, lag_of(materialization))
    folded = progress.fold(begun, observed.runs, view.definition.error_checks)
    if _emptied(observed):
        folded = progress.lost(folded)
    pending = command.pending(view.command, view.handled)
    if not view.spec.online.enabled or materialization is None:
        return _offline(view, folded, observed.runs, pending, new_definition=known is None)
    return _scheduled(observed, materialization, folded, pending, new_definition=known is None)


def _emptied(observed: ViewObservation) -> bool:
    return observed.stored is not StoreRecord.THERE


def _scheduled(
    observed: ViewObservation,
    materialization: Materialization,
    folded: MaterializationProgress,
    pending: PendingCommand | None,
    *,
    new_definition: bool,
) -> ViewPlan:
    view, runs_seen, now = observed.view, observed.runs, observed.now
    context = _context(observed, materialization, folded, pending)
    decision = next_job.decide(context)
    void_runs, active = tuple(context.void_runs), context.active
    if decision.replaced is not None:
        void_runs, active = (*void_runs, decision.replaced), None
    due = stale_at(materialization, folded)
    return ViewPlan(
        progress=folded,
        new_definition=new_definition,
        scheduled=True,
        suspended=materialization.suspend or decision.job is not None or (active is not None and active.one_shot),
        reason=decision.reason,
        job=decision.job,
        void_runs=void_runs,
        prunable=_prunable(runs_seen, folded),
        gaps=tuple(context.gaps),
        active=active,
        kept=_kept(active, observed.rendering),
        stale_at=due,
        wake=min(
            (moment for moment in (due, decision.wake, *_settling(runs_seen)) if moment and moment > now), default=None
        ),
        handled=decision.handled or view.handled,
        command_result=decision.result or command.ended(view.command_result, runs_seen),
        refused=decision.refused,
        emptied=_emptied(observed),
    )


def _context(
    observed: ViewObservation,
    materialization: Materialization,
    folded: MaterializationProgress,
    pending: PendingCommand | None,
) -> JobContext:
    void_runs = tuple(run for run in observed.runs if _is_void(run, folded) and not run.deleting)
    return JobContext(
        observed.view,
        materialization,
        folded,
        observed.runs,
        _gaps(materialization, folded),
        next((run for run in observed.runs if run.state is RunState.ACTIVE and run not in void_runs), None),
        void_runs,
        pending,
        observed.rendering,
        observed.now,
        observed.stored,
    )


def _settling(runs_seen: Sequence[Run]) -> list[datetime | None]:
    """When runs at work count as lost or stuck, if nothing happens."""
    at_work = [run for run in runs_seen if run.state is RunState.ACTIVE]
    return [run.finished_at + runs.GRACE if run.finished_at else run.pods_due for run in at_work]


def _gaps(materialization: Materialization, progress: MaterializationProgress) -> tuple[Interval, ...]:
    start = materialization.start_from
    begin = timestamps.parse(start, field="spec.materialization.startFrom") if start else BEGINNING
    end = max(progress.backfill_to, progress.watermark or progress.backfill_to)
    return intervals.missing(Interval(begin, end), progress.covered)


def _is_void(run: Run, progress: MaterializationProgress) -> bool:
    """Of another definition and still at work, or ended well without leaving its result."""
    other = run.definition != progress.definition
    return (other and run.state is RunState.ACTIVE) or (run.one_shot and run.state is RunState.LOST)


def _kept(active: Run | None, rendering: str) -> JobRequest | None:
    if active is None or not active.one_shot or active.finished_at or active.deleting or active.rendering != rendering:
        return None
    return JobRequest(active.name, active.purpose, active.requested, active.full)


def _prunable(runs_seen: Sequence[Run], progress: MaterializationProgress) -> tuple[Run, ...]:
    """Finished one-shot runs but the latest, whose log somebody may want to read."""
    ended = [run for run in runs_seen if run.one_shot and run.state in (RunState.SUCCEEDED, RunState.FAILED)]
    keep = max(ended, key=lambda run: (run.definition == progress.definition, run.finished_at, run.name), default=None)
    return tuple(run for run in ended if run is not keep and not run.deleting)


def _offline(
    view: View,
    folded: MaterializationProgress,
    runs_seen: Sequence[Run],
    pending: PendingCommand | None,
    *,
    new_definition: bool,
) -> ViewPlan:
    decision = JobDecision("spec.online.enabled is false")
    if pending is not None:
        error = RejectError("nothing to materialize: the view has no online part", field="spec.online.enabled")
        decision = next_job.refused(pending, error, decision.reason)
    return ViewPlan(
        progress=folded,
        new_definition=new_definition,
        scheduled=False,
        suspended=False,
        reason=decision.reason,
        void_runs=tuple(run for run in runs_seen if run.state is RunState.ACTIVE and not run.deleting),
        prunable=_prunable(runs_seen, folded),
        handled=decision.handled or view.handled,
        command_result=decision.result or command.ended(view.command_result, runs_seen),
        refused=decision.refused,
    )
