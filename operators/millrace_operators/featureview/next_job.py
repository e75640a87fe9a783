"""Which one-shot Job to make now, if any. The first rule of an ordered list that applies decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from millrace_core.api import command as commands
from millrace_core.api import names
from millrace_core.api.materialization import Materialization
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview import intervals, runs
from millrace_operators.featureview.command import FULL, PendingCommand
from millrace_operators.featureview.emptied import StoreRecord
from millrace_operators.featureview.intervals import Interval
from millrace_operators.featureview.progress import MaterializationProgress
from millrace_operators.featureview.runs import Run
from millrace_operators.featureview.view import View, schedule_of

# After a failed run, until the next backfill; the next scheduled time if that comes first.
RETRY: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class JobRequest:
    """A one-shot Job to make: for an interval, for everything (``full``), or else for what is new since the store's
    watermark."""

    name: str
    purpose: str
    interval: Interval | None
    full: bool = False


@dataclass(frozen=True)
class JobDecision:
    """A Job to make, or why none is made.

    Args:
        handled: the command that this deals with; ``result``: what became of it.
        refused: why that command is refused, where it is.
        replaced: a run at work that has to go first.
        wake: when to decide again, even if nothing happens until then.
    """

    reason: str
    job: JobRequest | None = None
    handled: str = ""
    result: str | None = None
    refused: RejectError | None = None
    replaced: Run | None = None
    wake: datetime | None = None


class JobContext(NamedTuple):
    """What the decision is made from.

    Args:
        gaps: the intervals that are missing, oldest first.
        active: a run at work.
        void_runs: runs whose Jobs have to be deleted first.
        command: a command that is not handled yet.
        rendering: digest of what the pods of a run made now would run.
        stored: what the online store has of the view.
    """

    view: View
    materialization: Materialization
    progress: MaterializationProgress
    runs: Sequence[Run]
    gaps: Sequence[Interval]
    active: Run | None
    void_runs: Sequence[Run]
    command: PendingCommand | None
    rendering: str
    now: datetime
    stored: StoreRecord = StoreRecord.THERE


def decide(context: JobContext) -> JobDecision:
    """The decision of the first rule that applies."""
    return next(decision for rule in _RULES if (decision := rule(context)) is not None)


def refused(pending: PendingCommand, error: RejectError, reason: str = "the command is refused") -> JobDecision:
    """No Job, and the command counts as handled."""
    return JobDecision(reason, handled=pending.text, result=str(error), refused=error)


def _command_refused(it: JobContext) -> JobDecision | None:
    return refused(it.command, it.command.refused) if it.command and it.command.refused else None


def _stuck_and_mended(it: JobContext) -> JobDecision | None:
    """A run that gets nowhere is made again with what has changed since; it does not wait for its own end."""
    run = it.active
    if run is None or run.failure is None or run.deleting:
        return None
    # Ours is put back as it was. The CronJob's is not ours to apply, and would hold up all that come after it.
    stopped = run.failure.reason == runs.JOB_SUSPENDED and not run.one_shot
    if run.rendering == it.rendering and not stopped:
        return None
    why = "and is not the operator's to put back" if stopped else "and was made before the last change"
    reason = f"Job {run.name} got nowhere ({run.failure.reason}) {why}"
    if it.materialization.suspend and run.purpose != runs.COMMAND:
        return JobDecision(reason, replaced=run)
    purpose = run.purpose if run.one_shot else runs.BACKFILL
    job = _job(it, purpose, run.requested, run.full, turn=f"{run.name} {it.rendering}")
    return JobDecision(reason, job, result=commands.made(job.name) if purpose == runs.COMMAND else None, replaced=run)


def _run_active(it: JobContext) -> JobDecision | None:
    return JobDecision(f"Job {it.active.name} is at work") if it.active else None


def _void_runs_left(it: JobContext) -> JobDecision | None:
    return JobDecision(f"Job {it.void_runs[0].name} has to go first") if it.void_runs else None


def _commanded(it: JobContext) -> JobDecision | None:
    if it.command is None or it.command.wanted is None:
        return None
    job = _job(it, runs.COMMAND, *it.command.wanted, turn=it.command.text)
    return JobDecision(f"command {it.command.text}", job, handled=it.command.text, result=commands.made(job.name))


def _suspended(it: JobContext) -> JobDecision | None:
    return JobDecision("spec.materialization.suspend is true") if it.materialization.suspend else None


def _nothing_missing(it: JobContext) -> JobDecision | None:
    if it.stored is StoreRecord.UNKNOWN:
        return JobDecision("it is not known whether the online store has the view by now")
    return None if it.gaps or it.stored is StoreRecord.GONE else JobDecision("nothing is missing")


def _too_soon_to_retry(it: JobContext) -> JobDecision | None:
    last = it.progress.last_run
    if last is None or last.succeeded or it.view.changed:
        return None
    tick = schedule_of(it.materialization).after(last.finished_at)
    final = any(run.name == last.name and run.failure and run.failure.final for run in it.runs)
    soon = last.finished_at + RETRY
    retry = tick if tick is not None and (final or tick < soon) else soon
    if retry <= it.now:
        return None
    return JobDecision(f"the last run failed; the next try is at {timestamps.render(retry)}", wake=retry)


def _emptied(it: JobContext) -> JobDecision | None:
    """A run for what is new takes everything, because the store has no watermark. What was pushed since stays."""
    if it.stored is not StoreRecord.GONE:
        return None
    last, reason = it.progress.last_run, "the online store has lost the view"
    soon = last.finished_at + RETRY if last is not None else it.now
    if soon > it.now:  # a run that is missed as soon as it ends went to another store than the one that is asked
        return JobDecision(f"{reason}; it is written anew at {timestamps.render(soon)}", wake=soon)
    return JobDecision(reason, _job(it, runs.BACKFILL, None, turn=last.name if last else ""))


def _backfill(it: JobContext) -> JobDecision:
    last = it.progress.last_run
    return JobDecision(f"{it.gaps[0]} is missing", _job(it, runs.BACKFILL, it.gaps[0], turn=last.name if last else ""))


_RULES: Final[tuple[Callable[[JobContext], JobDecision | None], ...]] = (
    _command_refused,  # at once, whatever runs
    _stuck_and_mended,
    _run_active,  # one run at a time
    _void_runs_left,  # a new Job may need the name of one of them
    _commanded,  # also while suspended
    _suspended,
    _nothing_missing,
    _too_soon_to_retry,  # unless the spec has changed since the last run failed
    _emptied,  # in one run, whatever is missing
    _backfill,
)


def _job(it: JobContext, purpose: str, interval: Interval | None, full: bool = False, *, turn: str) -> JobRequest:
    """A Job whose name follows from what it does, so that planning it twice makes one Job.

    ``turn`` makes the name differ from that of an earlier Job of the same purpose and interval.
    """
    what: Any = intervals.render(interval) if interval else FULL if full else None
    identity = [it.view.uid, it.progress.definition, purpose, what, turn]
    return JobRequest(names.one_shot_job(it.view.name, identity), purpose, interval, full)
