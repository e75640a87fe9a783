"""How a view goes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from millrace_operators.featureview import deletion
from millrace_operators.featureview.deletion import ATTEMPTS, PATIENCE, DeletionPlan
from millrace_operators.featureview.runs import GRACE, PURGE, Run, RunFailure, RunState
from tests.operators.featureview.life import NOON

STORE = "redis://store"


def purge(state: RunState, number: int = 0) -> Run:
    failure = RunFailure("StoreDown", "the store does not answer") if state is RunState.FAILED else None
    return Run(f"fv-purge-{number}", f"uid-{number}", PURGE, "", state, finished_at=NOON, failure=failure)


def plan(
    *purges: Run, children: tuple[str, ...] = (), after: timedelta = timedelta(0), store: str = STORE
) -> DeletionPlan:
    return deletion.plan(released_at=NOON, now=NOON + after, children=children, purges=purges, store_url=store)


def test_nothing_is_purged_while_something_can_still_write() -> None:
    planned = plan(children=("Pod fv-clicks-x",))
    assert planned.attempt is None
    assert not planned.finished
    assert "Pod fv-clicks-x" in planned.reason


def test_the_purge_is_made_once_and_waited_for() -> None:
    assert plan().attempt == 0
    assert plan(purge(RunState.ACTIVE)).attempt is None
    assert not plan(purge(RunState.ACTIVE)).finished


def test_a_purge_that_ended_is_looked_at_again_as_soon_as_its_pod_must_have_been_seen() -> None:
    ended = purge(RunState.ACTIVE)
    assert plan(ended).wake == NOON + GRACE
    assert plan(replace(ended, finished_at=None)).wake == NOON + PATIENCE


def test_a_purge_that_cannot_start_says_why() -> None:
    stuck = replace(purge(RunState.ACTIVE), failure=RunFailure("ErrImagePull", "the run cannot start: no such image"))
    assert "no such image" in plan(stuck).reason


def test_the_view_goes_when_its_rows_are_gone() -> None:
    for state in (RunState.SUCCEEDED, RunState.LOST):
        assert plan(purge(state)) == DeletionPlan("the online rows are deleted", finished=True)


def test_a_failed_purge_is_tried_again_a_few_times() -> None:
    failed = [purge(RunState.FAILED, number) for number in range(ATTEMPTS)]
    assert plan(*failed[:-1]).attempt == ATTEMPTS - 1
    given_up = plan(*failed)
    assert given_up.finished
    assert given_up.left_behind == "the store does not answer"


def test_a_late_success_counts_more_than_the_failures_before() -> None:
    assert plan(purge(RunState.FAILED), purge(RunState.SUCCEEDED, 1), after=2 * PATIENCE).left_behind == ""


def test_no_namespace_waits_for_ever() -> None:
    assert not plan(purge(RunState.ACTIVE), after=PATIENCE - timedelta(microseconds=1)).finished
    assert plan(purge(RunState.ACTIVE), after=PATIENCE).left_behind == "the purge Job did not end within 10 minutes"
    assert plan(children=("Pod x",), after=PATIENCE).left_behind == "Pod x did not end within 10 minutes"


def test_without_a_store_there_is_nothing_to_purge_with() -> None:
    assert plan(store="").finished
    assert "MILLRACE_STORE_URL" in plan(store="").left_behind
