"""The next writes of a route: subsets before the VirtualService, the VirtualService before subsets go."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_kube.resources import Object
from millrace_operators.routing.champion import candidate, previewed
from millrace_operators.routing.observe import read_live
from millrace_operators.routing.state import (
    FIGHT_WINDOW,
    Champion,
    DesiredRoute,
    HeaderRule,
    LiveRoute,
    Previewed,
    RouteChanges,
    RouteTarget,
    Split,
)
from tests.operators.routing.applying import applied, next_changes, updated

START = datetime(2026, 1, 1, tzinfo=UTC)
V1 = RouteTarget("v1", "u1", "2026-01-01T00:00:00Z", "v1-aaaaaaaa", ready=True)
V2 = RouteTarget("v2", "u2", "2026-01-02T00:00:00Z", "v2-bbbbbbbb", ready=True)
V3 = RouteTarget("v3", "u3", "2026-01-03T00:00:00Z", "v3-cccccccc", ready=True)
HALF = Split("exp", "v1", {"v1": 50, "v2": 50}, (HeaderRule("arm-v2", "x-millrace-arm", "v2", "v2"),), settle=5.0)


def wanted(
    split: Split | None = None, targets: tuple[RouteTarget, ...] = (V1, V2), champion: str = "v1"
) -> DesiredRoute:
    pointed = candidate(Champion(champion), targets)
    return DesiredRoute("shop", "default", targets, Champion(champion), pointed, split, settle=5.0)


class World:
    """Objects as they stand after each turn was carried out; time moves only when told."""

    def __init__(self, *, mesh: bool = True) -> None:
        self.now = START
        self.live = read_live(mesh=mesh, now=START)
        self.writes = 0
        self._last: dict[str, Object] = {}

    def turn(self, want: DesiredRoute) -> RouteChanges:
        self.look()
        planned = next_changes(want, self.live, self.now)
        held = {
            "stable": self.live.stable,
            "arms": self.live.arms,
            "rule": self.live.rule,
            "virtual": self.live.virtual,
            "preview": self.live.preview,
        }
        for item in planned.apply:
            field = field_of(item)
            after = applied(held[field], item, self._last.get(field))
            self.writes += after is not held[field]
            held[field], self._last[field] = after, copy.deepcopy(item)
        for item in planned.delete:
            held[field_of(item)] = None
        self.look(**held)
        return planned

    def look(self, **written: Any) -> None:
        """Reads the route as it is now."""
        held = {name: getattr(self.live, name) for name in ("stable", "arms", "rule", "virtual", "preview")}
        self.live = read_live(**{**held, **written}, mesh=self.live.mesh, now=self.now)

    def calm_at(self, now: datetime) -> datetime | None:
        self.now = now
        self.look()
        return self.live.calm_at

    def until_settled(self, want: DesiredRoute) -> list[tuple[set[str], set[str]]]:
        """(subsets known, subsets pointed at) after each turn that changed either."""
        steps: list[tuple[set[str], set[str]]] = []
        for _ in range(10):
            planned = self.turn(want)
            step = (self.known(), self.pointed())
            if not steps or steps[-1] != step:
                steps.append(step)
            if planned.again_at is not None:
                self.now = max(self.now, planned.again_at)
            elif planned.settled:
                return steps
        raise AssertionError(f"never settles: {steps}")

    def known(self) -> set[str]:
        return {subset["name"] for subset in (self.live.rule or {"spec": {"subsets": []}})["spec"]["subsets"]}

    def pointed(self) -> set[str]:
        rules = (self.live.virtual or {"spec": {"http": []}})["spec"]["http"]
        named = {target["destination"].get("subset") for rule in rules for target in rule["route"]}
        return {subset for subset in named if subset}

    def lose_rules(self) -> None:
        """The CRD of DestinationRules is deleted, and they with it."""
        self.live = replace(self.live, mesh=False)
        self.look(rule=None)


def field_of(item: dict[str, Any]) -> str:
    if item["kind"] == "Service":
        ends = {"shop-arms": "arms", "shop-preview": "preview"}
        return ends.get(item["metadata"]["name"], "stable")
    return {"DestinationRule": "rule", "VirtualService": "virtual"}[item["kind"]]


def test_a_new_service_gets_all_four_objects_in_one_turn() -> None:
    world = World()
    assert world.until_settled(wanted()) == [({"v1"}, {"v1"})]
    assert None not in (world.live.stable, world.live.arms, world.live.rule, world.live.virtual)


def test_an_arm_is_known_to_every_proxy_for_the_settle_time_before_traffic_is_sent_to_it() -> None:
    world = World()
    world.until_settled(wanted())
    first = world.turn(wanted(HALF))
    assert (world.known(), world.pointed()) == ({"v1", "v2"}, {"v1"})
    assert first.again_at == world.now + timedelta(seconds=5)
    world.now += timedelta(seconds=4.9)
    assert not world.turn(wanted(HALF)).programmed
    assert world.pointed() == {"v1"}
    world.now += timedelta(seconds=0.1)
    world.turn(wanted(HALF))
    assert world.pointed() == {"v1", "v2"}
    assert world.turn(wanted(HALF)).programmed


def test_a_subset_goes_only_after_no_proxy_points_at_it() -> None:
    world = World()
    world.until_settled(wanted(HALF))
    world.now += timedelta(hours=1)
    assert world.until_settled(wanted()) == [({"v1", "v2"}, {"v1"}), ({"v1"}, {"v1"})]


def test_a_change_of_champion_passes_through_both() -> None:
    world = World()
    world.until_settled(wanted())
    world.now += timedelta(hours=1)
    steps = world.until_settled(wanted(champion="v2"))
    assert steps == [({"v1", "v2"}, {"v1"}), ({"v1", "v2"}, {"v2"}), ({"v2"}, {"v2"})]


@given(st.lists(st.sampled_from(["v1", "v2", "v3", "half"]), min_size=1, max_size=6), st.integers(0, 7))
def test_traffic_is_never_sent_to_a_subset_that_a_proxy_may_not_know(choices: list[str], seconds: int) -> None:
    """Proxies lag by less than the settle time, and take the two objects in any order: all that was known within that
    time must hold what is pointed at now, and all that is known now what was pointed at within it."""
    world = World()
    history: list[tuple[datetime, set[str], set[str]]] = []
    for choice in choices:
        want = wanted(HALF if choice == "half" else None, (V1, V2, V3), "v1" if choice == "half" else choice)
        for _ in range(4):
            world.turn(want)
            history.append((world.now, world.known(), world.pointed()))
            begins = world.now - timedelta(seconds=5)
            # What stood when that time began is in force, too.
            recent = [then for then, after in pairwise([*history, history[-1]]) if after[0] > begins]
            assert all(world.pointed() <= known and pointed <= world.known() for _, known, pointed in recent)
            world.now += timedelta(seconds=seconds)


def test_a_settled_route_is_the_same_objects_again() -> None:
    world = World()
    world.until_settled(wanted(HALF))
    before, world.writes = world.live, 0
    world.now += timedelta(days=1)
    assert world.turn(wanted(HALF)).settled
    assert (world.live, world.writes) == (before, 0)


def test_a_new_revision_changes_the_labels_of_its_subset_at_once() -> None:
    world = World()
    world.until_settled(wanted())
    newer = replace(V1, revision="v1-dddddddd")
    world.turn(wanted(targets=(newer, V2)))
    assert world.live.rule is not None
    assert world.live.stable is not None
    assert world.live.rule["spec"]["subsets"][0]["labels"]["millrace.dev/revision"] == "v1-dddddddd"
    assert world.live.stable["spec"]["selector"]["millrace.dev/revision"] == "v1-dddddddd"


def test_without_a_mesh_the_services_stand_alone() -> None:
    world = World(mesh=False)
    planned = world.turn(wanted())
    assert [item["metadata"]["name"] for item in planned.apply] == ["shop-arms", "shop"]
    assert not planned.programmed


def test_a_route_without_deployments_goes_the_virtual_service_first() -> None:
    world = World()
    world.until_settled(wanted())
    planned = world.turn(wanted(targets=()))
    assert [item["kind"] for item in planned.delete] == ["VirtualService", "DestinationRule", "Service", "Service"]


def test_nothing_is_made_anew_for_a_service_whose_deployments_all_go() -> None:
    gone = tuple(replace(target, deleting=True) for target in (V1, V2))
    assert next_changes(wanted(targets=gone), LiveRoute(), START) == RouteChanges()


FINAL = Split("exp", "v1", {"v1": 100, "v2": 0}, arms=("v1", "v2"), settle=5.0, final=True)


@pytest.mark.parametrize("split", [None, HALF, FINAL], ids=["none", "half", "final"])
def test_a_route_is_not_taken_away_while_it_is_not_known_that_its_deployments_are_gone(split: Split | None) -> None:
    world = World()
    world.until_settled(wanted(HALF))
    before = world.live
    planned = world.turn(replace(wanted(split, targets=()), unknown=frozenset({"v2"})))
    assert (planned.apply, planned.delete, planned.waits_for, world.live) == ((), (), ("v2",), before)
    assert not planned.programmed
    assert not planned.settled


def test_a_subset_that_somebody_removed_comes_back_though_its_deployment_has_gone() -> None:
    """A control that was deleted keeps its share; the labels that its subset had are not known any more."""
    world = World()
    world.until_settled(wanted(HALF))
    world.live = replace(world.live, rule=None)
    world.turn(wanted(HALF, targets=(V2,)))
    assert world.known() == {"v1", "v2"}
    assert world.live.rule is not None
    assert world.live.rule["spec"]["subsets"][0]["labels"] == {"millrace.dev/deployment": "v1"}


def edit(world: World, change: Callable[[Any], object] = lambda it: it["spec"]["http"][0].update(timeout="3s")) -> None:
    assert world.live.virtual is not None
    world.live = replace(world.live, virtual=updated(world.live.virtual, change, "kubectl-edit"))


def test_an_edit_by_somebody_else_is_put_right_at_once_and_told() -> None:
    world = World()
    world.until_settled(wanted())
    before = world.live.virtual
    edit(world)
    assert world.turn(wanted()).rewritten == ("VirtualService shop",)
    assert before is not None
    assert world.live.virtual is not None
    assert world.live.virtual["spec"] == before["spec"]
    assert world.turn(wanted()).rewritten == ()


def test_after_three_edits_in_a_minute_the_route_is_left_alone_until_the_minute_is_over() -> None:
    world = World()
    world.until_settled(wanted())
    for _ in range(3):
        assert world.calm_at(world.now) is None
        edit(world)
        assert world.turn(wanted()).rewritten
        world.now += timedelta(seconds=10)
    calm_at = START + FIGHT_WINDOW
    assert world.calm_at(world.now) == calm_at
    edit(world)
    planned = world.turn(wanted())
    assert (planned.rewritten, planned.again_at, planned.programmed) == ((), calm_at, False)
    world.now = calm_at
    assert world.turn(wanted()).rewritten
    assert world.calm_at(world.now) == START + timedelta(seconds=70), "three again: at 10, 20 and 60 s"
    assert world.calm_at(START + timedelta(seconds=70)) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it["spec"].update(gateways=["mine"]),
        lambda it: it["spec"].update(tls=[{"match": [], "route": []}]),
        lambda it: it["spec"].update(http=[]),
        lambda it: it["spec"].pop("http"),
    ],
    ids=["adds a gateway", "adds a field", "empties the rules", "removes the rules"],
)
def test_whatever_another_manager_does_to_the_spec_is_put_right_and_told(change: Callable[[Any], object]) -> None:
    world = World()
    world.until_settled(wanted())
    before = copy.deepcopy(world.live.virtual)
    edit(world, change)
    assert world.turn(wanted()).rewritten == ("VirtualService shop",)
    assert before is not None
    assert world.live.virtual is not None
    assert world.live.virtual["spec"] == before["spec"]
    assert world.turn(wanted()) == world.turn(wanted())
    assert world.turn(wanted()).rewritten == ()


def test_an_edit_is_told_though_another_route_is_wanted_by_now() -> None:
    world = World()
    world.until_settled(wanted(HALF))
    world.now += timedelta(hours=1)
    edit(world)
    other = replace(HALF, weights={"v1": 40, "v2": 60})
    assert world.turn(wanted(other)).rewritten == ("VirtualService shop",)
    assert world.turn(wanted(other)).rewritten == ()


def test_an_edit_that_waits_for_the_proxies_to_know_a_subset_is_told_when_it_is_put_right() -> None:
    world = World()
    world.until_settled(wanted())
    world.now += timedelta(hours=1)
    edit(world)
    assert world.turn(wanted(HALF)).rewritten == ()
    world.now += timedelta(seconds=5)
    assert world.turn(wanted(HALF)).rewritten == ("VirtualService shop",)


def test_what_defaults_and_webhooks_set_is_no_edit_and_starts_no_loop() -> None:
    """A field of their own, and another value of ours: the API server records no owner of either."""
    world = World()
    world.until_settled(wanted())
    for item in (world.live.rule, world.live.virtual):
        assert item is not None
        item["spec"]["exportTo"] = ["*"]
    assert world.live.virtual is not None
    world.live.virtual["spec"]["http"][0]["retries"] = {"attempts": 2}
    world.writes = 0
    for _ in range(4):
        planned = world.turn(wanted())
        assert (planned.rewritten, planned.programmed, planned.settled) == ((), True, True)
        world.now += timedelta(seconds=6)
    assert world.writes == 0
    assert world.live.virtual["spec"]["exportTo"] == ["*"]


def test_labels_and_annotations_of_others_are_no_edit() -> None:
    world = World()
    world.until_settled(wanted())
    edit(world, lambda it: it["metadata"]["labels"].update(team="x"))
    edit(world, lambda it: it["metadata"]["annotations"].update(note="x"))
    assert world.turn(wanted()).rewritten == ()


def test_edits_far_apart_are_no_fight() -> None:
    world = World()
    world.until_settled(wanted())
    for _ in range(5):
        edit(world)
        assert world.turn(wanted()).rewritten
        world.now += timedelta(seconds=31)
    assert world.calm_at(world.now) is None


@pytest.mark.parametrize("split", [None, HALF], ids=["champion", "split"])
def test_without_destination_rules_the_route_leads_to_the_stable_service_and_back_when_they_are_served(
    split: Split | None,
) -> None:
    world = World()
    world.until_settled(wanted(split))
    before = world.pointed()
    world.lose_rules()
    assert not world.turn(wanted(split)).programmed
    virtual = world.live.virtual
    assert virtual is not None
    host = "shop.default.svc.cluster.local"
    assert [rule["route"] for rule in virtual["spec"]["http"]] == [
        [{"destination": {"host": host, "port": {"number": port}}, "weight": 100}] for port in (8081, 80)
    ]
    assert virtual["spec"]["hosts"] == ["shop.default.svc.cluster.local"]
    writes = world.writes
    assert not world.turn(wanted(split)).rewritten
    assert world.writes == writes, "a settled route is not written"

    world.live = replace(world.live, mesh=True)
    back = world.turn(wanted(split))
    assert (world.known(), world.pointed()) == (before, set()), (
        "every proxy knows a subset before traffic is sent to it"
    )
    assert back.again_at == world.now + timedelta(seconds=5)
    world.now += timedelta(seconds=5)
    assert not world.turn(wanted(split)).rewritten
    assert world.pointed() == before
    assert world.turn(wanted(split)).settled


def test_an_edit_of_the_route_without_destination_rules_is_undone_and_a_fight_left_alone() -> None:
    world = World()
    world.until_settled(wanted())
    world.lose_rules()
    world.turn(wanted())

    def edit() -> None:
        assert world.live.virtual is not None
        world.look(virtual=updated(world.live.virtual, lambda new: new["spec"].update(http=[]), "kubectl"))

    for _ in range(3):
        edit()
        assert world.turn(wanted()).rewritten == ("VirtualService shop",)
    edit()
    assert world.turn(wanted()).again_at is not None
    assert world.live.virtual is not None
    assert world.live.virtual["spec"]["http"] == []


def test_rules_that_somebody_deleted_come_back_at_once_since_the_route_points_at_them() -> None:
    world = World()
    world.until_settled(wanted(HALF))
    world.look(rule=None)
    world.turn(wanted(HALF))
    assert world.known() == world.pointed() == {"v1", "v2"}


def test_a_preview_comes_with_what_is_previewed_and_goes_with_it_and_moves_no_subset() -> None:
    world, previewing = World(), (replace(V1, preview="v1-dddddddd"), V2)
    world.until_settled(wanted())
    before = (world.live.rule, world.live.virtual)
    world.until_settled(replace(wanted(targets=previewing), previewed=previewed(None, previewing[0], previewing)))
    assert world.live.preview is not None
    assert world.live.preview["spec"]["selector"]["millrace.dev/revision"] == "v1-dddddddd"
    assert (world.live.rule, world.live.virtual) == before
    planned = world.turn(wanted())
    assert [item["metadata"]["name"] for item in planned.delete] == ["shop-preview"]
    assert world.live.preview is None
    assert (world.live.rule, world.live.virtual) == before


def test_a_preview_goes_before_what_everything_leads_to_and_is_not_made_for_a_service_that_goes() -> None:
    world, previewing = World(), replace(V1, preview="v1-dddddddd")
    want = replace(wanted(targets=(previewing,)), previewed=Previewed("v1", "v1-dddddddd"))
    world.until_settled(want)
    planned = world.turn(replace(want, targets=(replace(previewing, deleting=True),), previewed=None))
    assert [item["metadata"]["name"] for item in planned.delete] == ["shop-preview"]


def test_of_several_previews_an_experiments_goes_first_then_the_champions_then_the_oldest() -> None:
    one, two, three = V1, replace(V2, preview="v2-dddddddd"), replace(V3, preview="v3-eeeeeeee")
    assert previewed(None, one, (one, two, three)) == Previewed("v2", "v2-dddddddd")
    assert previewed(None, three, (one, two, three)) == Previewed("v3", "v3-eeeeeeee")
    flip = replace(HALF, preview="v2")
    assert previewed(flip, one, (one, two, three)) == Previewed("v2", V2.revision)
    assert previewed(None, one, (one, replace(two, deleting=True))) is None
