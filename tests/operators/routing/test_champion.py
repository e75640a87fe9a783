"""Who the champion is."""

from __future__ import annotations

from millrace_operators.routing.champion import candidate, elect, may_control
from millrace_operators.routing.state import Champion, RouteTarget, Split

V1 = RouteTarget("v1", "u1", "2026-01-01T00:00:00Z", "v1-aaaaaaaa", ready=True)
V2 = RouteTarget("v2", "u2", "2026-01-02T00:00:00Z", "v2-aaaaaaaa", ready=True)


def starting(target: RouteTarget) -> RouteTarget:
    return RouteTarget(target.name, target.uid, target.created)


def leaving(target: RouteTarget) -> RouteTarget:
    return RouteTarget(target.name, target.uid, target.created, target.revision, target.ready, deleting=True)


def test_nobody_is_champion_before_a_deployment_is_ready() -> None:
    assert elect(Champion(), [starting(V1), starting(V2)], None) == Champion()


def test_the_first_to_become_ready_is_champion_whatever_its_age() -> None:
    assert elect(Champion(), [starting(V1), V2], None) == Champion("v2", ("v1",))


def test_the_oldest_is_champion_where_several_are_ready_at_once() -> None:
    assert elect(Champion(), [V2, V1], None).name == "v1"


def test_the_champion_stays_when_another_becomes_ready_or_it_is_unready_for_a_while() -> None:
    assert elect(Champion("v2"), [V1, V2], None) == Champion("v2")
    assert elect(Champion("v2"), [V1, starting(V2)], None) == Champion("v2")


def test_a_champion_that_is_deleted_leaves_its_place_to_the_oldest_ready_deployment() -> None:
    assert elect(Champion("v2"), [V1, leaving(V2)], None) == Champion("v1")
    assert elect(Champion("v2"), [V1], None) == Champion("v1")


def test_a_champion_that_is_deleted_stays_to_its_end_where_no_other_is_ready() -> None:
    assert elect(Champion("v2"), [starting(V1), leaving(V2)], None) == Champion("v2")


def test_while_an_experiment_runs_its_control_or_winner_is_champion() -> None:
    split = Split("e", champion="v2", weights={"v2": 100})
    assert elect(Champion("v1"), [V1, V2], split) == Champion("v2")
    assert elect(Champion("v1"), [V1], split) == Champion("v1")


def test_an_experiment_may_choose_its_control_among_those_that_started_together() -> None:
    record = elect(Champion(), [starting(V1), V2], None)
    assert may_control("v1", record)
    assert may_control("v2", record)
    assert not may_control("v3", record)
    promoted = elect(record, [V1, V2], Split("e", champion="v2", weights={"v2": 100}))
    assert not may_control("v1", promoted)


def test_the_route_points_at_the_oldest_that_stays_until_there_is_a_champion() -> None:
    assert candidate(Champion(), [leaving(V1), V2]) == V2
    assert candidate(Champion("v2"), [V1, V2]) == V2
