"""Which one-shot Job to make now, if any: an ordered list of rules, of which the first that applies decides. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from millrace_core.api import names
from millrace_core.api.featureview import Materialization
from millrace_core.base import timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.featureview import command, intervals, runs
from millrace_operators.featureview.intervals import Interval
from millrace_operators.featureview.progress import Progress
from millrace_operators.featureview.runs import Run
from millrace_operators.featureview.view import View, schedule_of

# A failed backfill is tried again after this, or at the next scheduled time if that comes first.
RETRY: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class JobRequest:
    """A one-shot Job to make: for a stretch, for everything (``full``), or for what is new since the store's
    watermark."""

    name: str
    purpose: str
    stretch: Interval | None
    full: bool = False


@dataclass(frozen=True)
class Wish:
    """A Job to make, or why there is none.

    Args:
        handled: the id of a command that is dealt with by this; ``result``: what became of it.
        refused: the command, where it is none.
        wake: when to decide anew, though nothing happens.
    """

    reason: str
    job: JobRequest | None = None
    handled: str = ""
    result: str | None = None
    refused: RejectError | None = None
    wake: datetime | None = None


class Scene(NamedTuple):
    """What the decision is made from.

    Args:
        gaps: what is missing, oldest first.
        active: a run at work.
        discard: runs whose Jobs have to go.
    """

    view: View
    materialization: Materialization
    progress: Progress
    observed: Sequence[Run]
    gaps: Sequence[Interval]
    active: Run | None
    discard: Sequence[Run]
    now: datetime


def decide(scene: Scene) -> Wish:
    """The wish of the first rule that has one."""
    return next(wish for rule in _RULES if (wish := rule(scene)) is not None)


def pending_command(view: View) -> str:
    """Id of the command that is not handled yet; empty where there is none."""
    asked = command.identity(view.command) or view.command
    return asked if asked != view.handled else ""


def _command_is_none(it: Scene) -> Wish | None:
    asked = pending_command(it.view)
    if not asked:
        return None
    try:
        command.parse(it.view.command)
    except RejectError as error:
        return Wish("the command is refused", handled=asked, result=str(error), refused=error)
    return None


def _one_at_a_time(it: Scene) -> Wish | None:
    return Wish(f"Job {it.active.name} is at work") if it.active else None


def _old_ones_first(it: Scene) -> Wish | None:
    return Wish(f"Job {it.discard[0].name} has to go first") if it.discard else None


def _commanded(it: Scene) -> Wish | None:
    asked = pending_command(it.view)
    if not asked:
        return None
    job = _job(it, runs.COMMAND, *command.parse(it.view.command), turn=asked)
    return Wish(f"command {asked}", job, handled=asked, result=f"Job {job.name} was made")


def _suspended(it: Scene) -> Wish | None:
    return Wish("spec.materialization.suspend is true") if it.materialization.suspend else None


def _complete(it: Scene) -> Wish | None:
    return None if it.gaps else Wish("nothing is missing")


def _not_yet_again(it: Scene) -> Wish | None:
    last = it.progress.last_run
    if last is None or last.succeeded or it.view.changed:
        return None
    tick = schedule_of(it.materialization).after(last.finished_at)
    final = any(run.name == last.name and run.failure and run.failure.final for run in it.observed)
    soon = last.finished_at + RETRY
    retry = tick if tick is not None and (final or tick < soon) else soon
    if retry <= it.now:
        return None
    return Wish(f"the last run failed; the next try is at {timestamps.render(retry)}", wake=retry)


def _backfill(it: Scene) -> Wish:
    last = it.progress.last_run
    return Wish(f"{it.gaps[0]} is missing", _job(it, runs.BACKFILL, it.gaps[0], turn=last.name if last else ""))


_RULES: Final[tuple[Callable[[Scene], Wish | None], ...]] = (
    _command_is_none,  # said at once, whatever runs
    _one_at_a_time,
    _old_ones_first,  # their names may be wanted again
    _commanded,  # also while suspended
    _suspended,
    _complete,
    _not_yet_again,  # unless the spec has changed since
    _backfill,
)


def _job(it: Scene, purpose: str, stretch: Interval | None, full: bool = False, *, turn: str) -> JobRequest:
    """Named by what it does and, through ``turn``, after what: the same however often it is planned."""
    said: Any = intervals.render(stretch) if stretch else command.FULL if full else None
    identity = [it.view.uid, it.progress.definition, purpose, said, turn]
    return JobRequest(names.one_shot_job(it.view.name, identity), purpose, stretch, full)
