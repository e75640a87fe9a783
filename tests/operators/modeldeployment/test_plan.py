"""Which revision runs, which serves, and which go."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.modeldeployment import Scaling
from millrace_operators.modeldeployment.plan import Revision, RolloutPlan
from millrace_operators.modeldeployment.plan import plan as plan_of

ALL = frozenset(["m-old", "m-new", "m-third", "a", "b", "c", "d"])
ONE = Scaling()
THREE = Scaling(min=3, max=3)
UP_TO_TEN = Scaling(min=2, max=10)


def plan(
    target: str,
    revisions: Sequence[Revision],
    recorded: str,
    scaling: Scaling,
    *,
    routed: Collection[str],
    pinned: Collection[str] = ALL,
) -> RolloutPlan:
    return plan_of(target, revisions, recorded, scaling, pinned=pinned, routed=routed)


def old(ready: int = 1, replicas: int = 1) -> Revision:
    return Revision("m-old", replicas, ready, created="2026-01-01T00:00:00Z")


def new(ready: int = 0, replicas: int = 1, *, current: bool = True) -> Revision:
    return Revision("m-new", replicas, ready, current=current, created="2026-01-02T00:00:00Z")


def test_the_first_revision_serves_as_soon_as_a_pod_is_ready() -> None:
    assert plan("m-new", [new(0, 3)], "", THREE, routed=()) == RolloutPlan("m-new", "", {"m-new": 3})
    assert plan("m-new", [new(1, 3)], "", THREE, routed=()) == RolloutPlan(
        "m-new", "m-new", {"m-new": 3}, switched=True
    )


def test_a_revision_begins_with_one_pod_until_it_is_known_what_that_one_measured() -> None:
    assert plan("m-new", [], "", THREE, routed=(), pinned=()) == RolloutPlan("m-new", "", {"m-new": 1})
    assert plan("m-new", [new(0, 1)], "", THREE, routed=(), pinned=()).replicas == {"m-new": 1}
    assert plan("m-new", [new(0, 1)], "", THREE, routed=(), pinned=["m-new"]).replicas == {"m-new": 3}
    both = [old(3, 3), new(0, 1)]
    assert plan("m-new", both, "m-old", THREE, routed=(), pinned=["m-old"]).replicas == {"m-new": 1, "m-old": 3}


def test_a_revision_that_serves_never_shrinks_because_its_model_is_not_known() -> None:
    assert plan("m-old", [old(3, 3)], "m-old", THREE, routed=(), pinned=()).replicas == {"m-old": 3}


def test_one_ready_pod_of_many_does_not_take_over_from_a_revision_that_serves() -> None:
    assert plan("m-new", [old(3, 3), new(1, 1)], "m-old", THREE, routed=()).active == "m-old"


def test_a_revision_whose_model_is_not_known_or_not_one_takes_nothing_over() -> None:
    assert plan("m-new", [new(1, 1)], "", ONE, routed=(), pinned=()).active == ""
    assert plan("m-new", [replace(new(1, 1), alike=False)], "", ONE, routed=()).active == ""
    assert plan("m-new", [old(), replace(new(1, 1), alike=False)], "m-old", ONE, routed=()).active == "m-old"


def test_a_new_revision_comes_up_beside_the_old_one() -> None:
    assert plan("m-new", [old()], "m-old", ONE, routed=("m-old",)) == RolloutPlan(
        "m-new", "m-old", {"m-new": 1, "m-old": 1}
    )


def test_the_old_revision_serves_until_every_pod_of_the_new_one_is_ready() -> None:
    assert plan("m-new", [old(3, 3), new(2, 3)], "m-old", THREE, routed=("m-old",)).active == "m-old"
    found = plan("m-new", [old(3, 3), new(3, 3)], "m-old", THREE, routed=("m-old",))
    assert (found.active, found.switched, found.delete) == ("m-new", True, ())


def test_a_status_that_does_not_describe_the_spec_yet_is_not_believed() -> None:
    assert plan("m-new", [old(), new(1, current=False)], "m-old", ONE, routed=()).active == "m-old"


def test_the_old_revision_goes_when_no_route_leads_to_it() -> None:
    both = [old(), new(1)]
    assert plan("m-new", both, "m-new", ONE, routed=("m-old",)).delete == ()
    assert plan("m-new", both, "m-new", ONE, routed=("m-new",)).delete == ("m-old",)


def test_a_failing_revision_goes_when_the_spec_changes_back() -> None:
    assert plan("m-old", [old(), new(0)], "m-old", ONE, routed=("m-old",)) == RolloutPlan(
        "m-old", "m-old", {"m-old": 1}, ("m-new",), whole=True
    )


def test_a_failing_revision_goes_when_the_spec_asks_for_a_third() -> None:
    found = plan("m-third", [old(), new(0)], "m-old", ONE, routed=("m-old",))
    assert (found.target, found.active, found.delete) == ("m-third", "m-old", ("m-new",))


def test_a_new_revision_takes_over_at_its_first_ready_pod_where_the_old_one_serves_nothing() -> None:
    assert plan("m-new", [old(0, 3), new(1, 3)], "m-old", THREE, routed=("m-old",)).active == "m-new"


def test_one_stale_status_of_the_old_revision_moves_no_traffic() -> None:
    stale = replace(old(0, 3), ready_pods=3)
    assert plan("m-new", [stale, new(1, 3)], "m-old", THREE, routed=("m-old",)).active == "m-old"


def test_a_scaled_revision_keeps_the_scalers_number() -> None:
    assert plan("m-old", [old(7, 7)], "m-old", UP_TO_TEN, routed=()).replicas["m-old"] == 7


def test_a_new_revision_comes_up_with_the_present_number_of_pods() -> None:
    assert plan("m-new", [old(7, 7)], "m-old", UP_TO_TEN, routed=()).replicas["m-new"] == 7
    assert plan("m-new", [], "", UP_TO_TEN, routed=()).replicas["m-new"] == 2


def test_the_scalers_number_is_held_within_bounds_that_change() -> None:
    assert plan("m-old", [old(7, 7)], "m-old", Scaling(min=1, max=5), routed=()).replicas["m-old"] == 5
    assert plan("m-old", [old(1, 1)], "m-old", UP_TO_TEN, routed=()).replicas["m-old"] == 2


def test_a_lost_status_is_made_good_by_what_is_ready() -> None:
    assert plan("m-new", [old(), new(0)], "", ONE, routed=("m-old",)).active == "m-old"


revisions = st.lists(
    st.builds(
        Revision,
        name=st.sampled_from(["a", "b", "c", "d"]),
        replicas=st.integers(0, 5),
        ready=st.integers(0, 5),
        current=st.booleans(),
    ),
    unique_by=lambda revision: revision.name,
)


@given(revisions, st.sampled_from("abcd"), st.sampled_from(["", "a", "b", "c", "d"]), st.sets(st.sampled_from("abcd")))
def test_what_serves_or_is_routed_to_or_wanted_is_never_deleted(
    found: list[Revision], target: str, recorded: str, routed: set[str]
) -> None:
    planned = plan(target, found, recorded, UP_TO_TEN, routed=routed)
    assert not {planned.active, planned.target, *routed} & set(planned.delete)
    assert {revision.name for revision in found} - {planned.active, target, *routed} == set(planned.delete)
    before = next((revision for revision in found if revision.name == recorded), None)
    if before is not None and before.ready and planned.active != recorded:
        wanted = next(revision for revision in found if revision.name == target)
        assert planned.active == target
        assert wanted.ready >= wanted.replicas > 0
