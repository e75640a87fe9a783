"""How a view is deleted once nobody reads it (``protection.release``). Pure.

Its runs end, its online rows are deleted, and only then it goes itself.

This must never hold a namespace for ever: after ``PATIENCE`` the finalizer is removed, and an Event says which rows
stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from millrace_operators.featureview.runs import GRACE, Run, RunState

PATIENCE: Final = timedelta(minutes=10)
ATTEMPTS: Final = 3


@dataclass(frozen=True)
class DeletionPlan:
    """What to do next.

    Args:
        reason: what is done or waited for, for people.
        attempt: number of the purge Job to make; None: none now.
        finished: the finalizer can be removed.
        left_behind: why rows may be left in the store; empty where none are.
        wake: when to look again, even if nothing happens until then: when ``PATIENCE`` ends, or before.
    """

    reason: str
    attempt: int | None = None
    finished: bool = False
    left_behind: str = ""
    wake: datetime | None = None


def plan(
    *, released_at: datetime, now: datetime, children: Sequence[str], purges: Sequence[Run], store_url: str
) -> DeletionPlan:
    """The next step.

    Args:
        released_at: when nothing held the view any more.
        children: what can still write rows of the view: its CronJob, Jobs and living pods. They are being deleted.
        purges: the purge Jobs made so far.
    """
    until = released_at + PATIENCE
    failed = [run for run in purges if run.state is RunState.FAILED]
    if any(run.state in (RunState.SUCCEEDED, RunState.LOST) for run in purges):
        return DeletionPlan("the online rows are deleted", finished=True)
    if not store_url:
        return DeletionPlan("", finished=True, left_behind="the operator knows no online store (MILLRACE_STORE_URL)")
    if len(failed) >= ATTEMPTS or now >= until:
        why = failed[-1].failure.message if failed and failed[-1].failure else _waiting(children, purges)
        return DeletionPlan("", finished=True, left_behind=why)
    if children:
        return DeletionPlan(f"waiting for the end of {children[0]}", wake=until)
    active = next((run for run in purges if run.state is RunState.ACTIVE), None)
    if active is not None:
        stuck = f": {active.failure.message}" if active.failure else ""
        # One that has just ended still counts as active, and nothing else happens when it no longer does.
        settled = active.finished_at + GRACE if active.finished_at else until
        return DeletionPlan(f"deleting the online rows{stuck}", wake=min(until, settled))
    return DeletionPlan("deleting the online rows", attempt=len(failed), wake=until)


def _waiting(children: Sequence[str], purges: Sequence[Run]) -> str:
    if children:
        return f"{children[0]} did not end within {PATIENCE.seconds // 60} minutes"
    stuck = next((run.failure.message for run in purges if run.failure), "the purge Job did not end")
    return f"{stuck} within {PATIENCE.seconds // 60} minutes"
