"""What to do about a view now. Pure: from the spec, the progress, the observed runs and the time to a frozen plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from millrace_core.api.featureview import Materialization
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview import intervals, next_job, runs
from millrace_operators.featureview.intervals import BEGINNING, Interval
from millrace_operators.featureview.next_job import JobRequest, Scene, Wish
from millrace_operators.featureview.progress import Progress
from millrace_operators.featureview.runs import Run, State
from millrace_operators.featureview.view import View, stale_at


@dataclass(frozen=True)
class Plan:
    """What is to be done, in this order: delete ``discard``, bring the CronJob about, make ``job``, write status, and
    delete ``outlived``.

    Args:
        scheduled: whether there is a CronJob; ``suspended``: whether it stands still.
        reason: why ``job`` is made, or why none is.
        discard: runs whose Jobs must go: of another definition, or with their result lost.
        outlived: finished one-shot runs whose results status holds.
        gaps: what is missing since startFrom, oldest first.
        active: a run that is at work.
        stale_at: when the view stops being fresh, if no run succeeds until then.
        wake: when to look again, though nothing happens.
        handled: id of the last command that is dealt with; ``command_result``: what became of it.
        refused: a command that is none; for an Event.
    """

    progress: Progress
    scheduled: bool
    suspended: bool
    reason: str
    job: JobRequest | None = None
    discard: tuple[Run, ...] = ()
    outlived: tuple[Run, ...] = ()
    gaps: tuple[Interval, ...] = ()
    active: Run | None = None
    stale_at: datetime | None = None
    wake: datetime | None = None
    handled: str = ""
    command_result: str | None = None
    refused: RejectError | None = None


def plan(view: View, progress: Progress, observed: Sequence[Run], now: datetime) -> Plan:
    """The plan. ``progress`` holds the results of ``observed`` already (see ``progress.fold``)."""
    materialization = view.spec.materialization
    if not view.spec.online.enabled or materialization is None:
        return _offline(view, progress, observed)
    discard = tuple(run for run in observed if _is_void(run, progress) and not run.deleting)
    active = next((run for run in observed if run.state is State.ACTIVE and run not in discard), None)
    gaps = _gaps(materialization, progress)
    wish = next_job.decide(Scene(view, materialization, progress, observed, gaps, active, discard, now))
    due = stale_at(materialization, progress)
    settling = [run.finished_at + runs.GRACE for run in observed if run.state is State.ACTIVE and run.finished_at]
    return Plan(
        progress=progress,
        scheduled=True,
        suspended=materialization.suspend or wish.job is not None or (active is not None and active.one_shot),
        reason=wish.reason,
        job=wish.job,
        discard=discard,
        outlived=_outlived(observed, progress),
        gaps=gaps,
        active=active,
        stale_at=due,
        wake=min((moment for moment in (due, wish.wake, *settling) if moment and moment > now), default=None),
        handled=wish.handled or view.handled,
        command_result=wish.result or view.command_result,
        refused=wish.refused,
    )


def _gaps(materialization: Materialization, progress: Progress) -> tuple[Interval, ...]:
    start = materialization.start_from
    begin = timestamps.parse(start, field="spec.materialization.startFrom") if start else BEGINNING
    end = max(progress.backfill_to, progress.watermark or progress.backfill_to)
    return intervals.missing(Interval(begin, end), progress.covered)


def _is_void(run: Run, progress: Progress) -> bool:
    """Of another definition and still at work, or ended well without leaving its result."""
    other = run.definition != progress.definition
    return (other and run.state is State.ACTIVE) or (run.one_shot and run.state is State.LOST)


def _outlived(observed: Sequence[Run], progress: Progress) -> tuple[Run, ...]:
    """Finished one-shot runs but the latest, whose log somebody may want to read."""
    ended = [run for run in observed if run.one_shot and run.state in (State.SUCCEEDED, State.FAILED)]
    keep = max(ended, key=lambda run: (run.definition == progress.definition, run.finished_at, run.name), default=None)
    return tuple(run for run in ended if run is not keep and not run.deleting)


def _offline(view: View, progress: Progress, observed: Sequence[Run]) -> Plan:
    wish = Wish("spec.online.enabled is false")
    asked = next_job.pending_command(view)
    if asked:
        refused = RejectError("nothing to materialize: the view has no online part", field="spec.online.enabled")
        wish = Wish(wish.reason, handled=asked, result=str(refused), refused=refused)
    return Plan(
        progress=progress,
        scheduled=False,
        suspended=False,
        reason=wish.reason,
        discard=tuple(run for run in observed if run.state is State.ACTIVE and not run.deleting),
        outlived=_outlived(observed, progress),
        handled=wish.handled or view.handled,
        command_result=wish.result or view.command_result,
        refused=wish.refused,
    )
