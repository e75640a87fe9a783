"""How a view goes: its runs end, its online rows are deleted, and only then the view itself. Pure.

Nothing of this may hold a namespace for ever: after ``PATIENCE`` the view is let go, and an Event says which rows stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from millrace_operators.featureview.runs import Run, State

PATIENCE: Final = timedelta(minutes=10)
ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Plan:
    """What to do next.

    Args:
        reason: what is waited for, or done; for people.
        attempt: number of the purge Job to make; None: none now.
        finished: the view can go.
        left_behind: why rows may be left in the store, where they may.
        wake: when patience ends.
    """

    reason: str
    attempt: int | None = None
    finished: bool = False
    left_behind: str = ""
    wake: datetime | None = None


def plan(*, asked_at: datetime, now: datetime, children: Sequence[str], purges: Sequence[Run], store_url: str) -> Plan:
    """The plan.

    Args:
        asked_at: when the deletion was asked for.
        children: what of the view can still write: its CronJob, Jobs, living pods; being deleted already.
        purges: the purge Jobs made so far.
    """
    until = asked_at + PATIENCE
    failed = [run for run in purges if run.state is State.FAILED]
    if any(run.state in (State.SUCCEEDED, State.LOST) for run in purges):
        return Plan("the online rows are deleted", finished=True)
    if not store_url:
        return Plan("", finished=True, left_behind="the operator knows no online store (MILLRACE_STORE_URL)")
    if len(failed) >= ATTEMPTS or now >= until:
        why = failed[-1].failure.message if failed and failed[-1].failure else _waiting(children, purges)
        return Plan("", finished=True, left_behind=why)
    if children:
        return Plan(f"waiting for the end of {children[0]}", wake=until)
    if any(run.state is State.ACTIVE for run in purges):
        return Plan("deleting the online rows", wake=until)
    return Plan("deleting the online rows", attempt=len(failed), wake=until)


def _waiting(children: Sequence[str], purges: Sequence[Run]) -> str:
    if children:
        return f"{children[0]} did not end within {PATIENCE.seconds // 60} minutes"
    stuck = next((run.failure.message for run in purges if run.failure), "the purge Job did not end")
    return f"{stuck} within {PATIENCE.seconds // 60} minutes"
