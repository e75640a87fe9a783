"""Conditions: how one status follows another, and what of it is worth an Event."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.conditions import (
    READY,
    ConditionDict,
    condition,
    find,
    holds,
    rejected,
    settle,
    summary,
    transitions,
)
from millrace_core.base.errors import RejectError

NOON = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)
LATER = datetime(2026, 11, 20, 13, tzinfo=UTC)


def said(
    *states: bool | None, reason: str = "Because", now: datetime = NOON, before: object = None
) -> list[ConditionDict]:
    current = [condition(f"C{number}", state, reason, reason) for number, state in enumerate(states)]
    previous = before if isinstance(before, list) else None
    return settle(previous, [*current, summary(current)], generation=1, now=now)


def test_times_have_whole_seconds_as_kubernetes_has_them() -> None:
    assert said(True)[0]["lastTransitionTime"] == "2026-11-20T12:00:00Z"


def test_an_unchanged_observation_is_an_unchanged_status() -> None:
    first = said(True, None, False)
    assert said(True, None, False, now=LATER, before=first) == first


def test_a_new_reason_keeps_the_time_of_the_transition_and_a_new_status_does_not() -> None:
    first = said(False)
    other = said(False, reason="Other", now=LATER, before=first)
    assert other[0]["lastTransitionTime"] == first[0]["lastTransitionTime"]
    assert said(True, now=LATER, before=first)[0]["lastTransitionTime"] == "2026-11-20T13:00:00Z"


@given(st.lists(st.sampled_from([True, False, None]), max_size=5))
def test_ready_is_the_worst_of_all(states: list[bool | None]) -> None:
    ready = find(said(*states), READY)
    assert ready is not None
    expected = "False" if False in states else "Unknown" if None in states else "True"
    assert ready["status"] == expected


def events(before: list[ConditionDict] | None, after: list[ConditionDict]) -> list[tuple[str, str]]:
    return [(item["type"], item["status"]) for item in transitions(before, after)]


def test_nothing_is_told_of_what_is_well_from_the_start_or_not_decided_yet() -> None:
    assert events(None, said(True, None)) == []
    assert events(said(True), said(None)) == []


def test_what_turns_is_told_and_ready_only_where_nothing_else_says_the_same() -> None:
    assert events(None, said(False)) == [("C0", "False")]
    assert events(said(None), said(True)) == [("C0", "True"), ("Ready", "True")]
    assert events(said(True), said(False)) == [("C0", "False")]
    assert events(said(False), said(False)) == []
    assert events(said(False), said(False, reason="Other")) == [("C0", "False")]


def test_a_rejection_names_the_field_and_what_to_do() -> None:
    error = RejectError("it is no time", field="spec.x", hint="Write a time", reason="BadTime")
    told = rejected("Accepted", error)
    assert (told["status"], told["reason"]) == ("False", "BadTime")
    assert told["message"] == "spec.x: it is no time. Write a time"


def test_conditions_are_found_by_type() -> None:
    assert holds(said(True), "C0")
    assert not holds(said(None), "C0")
    assert not holds(None, "C0")
    assert find(said(True), "C7") is None
