"""Experiments on the embedded API server: what a user sees."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from millrace_core.api.experiment import ExperimentSpec
from millrace_core.identity.experiment_definition import experiment_definition
from millrace_kube import resources as r
from millrace_operators.experiment import decide
from millrace_operators.experiment import status as statuses
from millrace_operators.experiment.decision import Decision
from millrace_operators.routing.state import DesiredRoute, RouteChanges
from tests import builders
from tests.operators import world as world_module
from tests.operators.conftest import Faults
from tests.operators.world import World

EXP, MD = r.EXPERIMENTS, r.MODEL_DEPLOYMENTS
STEPS = [{"weight": 10, "hold": "10m"}, {"weight": 50, "hold": "10m"}, {"weight": 100}]
SOON = timedelta(seconds=5)


@pytest.fixture
async def shop(world: World) -> World:
    """The service ``shop`` with its champion v1 and v2 beside it."""
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    await world.settle()
    return world


def canary(name: str = "ramp") -> dict[str, Any]:
    return builders.canary(name, "shop", "v1", "v2", STEPS).build()


def ab_test(name: str = "ab") -> dict[str, Any]:
    return builders.experiment(name, "shop", "v1", "v2").build()


def split(world: World) -> dict[str, int]:
    virtual = world.get(r.VIRTUAL_SERVICES, "shop")
    assert virtual is not None
    return {share["destination"]["subset"]: share["weight"] for share in virtual["spec"]["http"][-1]["route"]}


def champion(world: World) -> str:
    service = world.get(r.SERVICES, "shop")
    assert service is not None
    assert (
        service["spec"]["selector"]["millrace.dev/deployment"]
        == service["metadata"]["annotations"]["millrace.dev/champion"]
    )
    return str(service["metadata"]["annotations"]["millrace.dev/champion"])


def command(world: World, name: str, text: str) -> None:
    world.patch(EXP, name, {"metadata": {"annotations": {"millrace.dev/command": text}}})


async def test_a_canary_goes_all_the_way_and_its_winner_survives_it(shop: World) -> None:
    shop.apply(canary())
    await shop.settle(horizon=SOON)
    status = shop.status(EXP, "ramp")
    assert (status["phase"], status["weights"]["applied"]) == ("Running", {"control": 90, "challenger": 10})
    assert split(shop) == {"v1": 90, "v2": 10}
    assert shop.condition(EXP, "ramp", "Ready")[0] == "True"
    await shop.settle()
    assert (shop.status(EXP, "ramp")["phase"], champion(shop), split(shop)) == ("Succeeded", "v2", {"v2": 100})
    shop.delete(EXP, "ramp")
    await shop.settle()
    shop.restart()
    await shop.settle()
    assert shop.get(EXP, "ramp") is None
    assert (champion(shop), split(shop)) == ("v2", {"v2": 100})
    assert shop.status(MD, "v2")["champion"] is True
    shop.delete(MD, "v1")
    await shop.settle()
    assert shop.get(MD, "v1") is None


async def test_a_running_experiment_costs_no_write_while_nothing_is_due(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    before = shop.writes
    shop.now += timedelta(days=3)
    await shop.turn()
    shop.restart()
    await shop.turn()
    assert shop.writes == before


async def test_a_turn_plans_the_route_once_whatever_it_decides(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[str] = []
    reconciled = 0
    plan_of, turn_of = decide.route_changes, world_module._service

    def counted(desired: DesiredRoute, *others: Any) -> RouteChanges:
        planned.append(desired.service)
        return plan_of(desired, *others)

    async def reconcile(*parts: Any) -> Any:
        nonlocal reconciled
        reconciled += 1
        return await turn_of(*parts)

    monkeypatch.setattr(decide, "route_changes", counted)
    monkeypatch.setattr(world_module, "_service", reconcile)
    shop.apply(canary())
    await shop.settle()
    assert shop.status(EXP, "ramp")["phase"] == "Succeeded"
    assert len(planned) == reconciled > 5


async def test_whoever_waits_for_ready_finds_it_running(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[str, bool]] = set()
    conditions_of = statuses.current

    def noted(before: Any, decision: Decision, *others: Any) -> Any:
        found = conditions_of(before, decision, *others)
        seen.add(
            (str(decision.status.phase), any(each["type"] == "Ready" and each["status"] == "True" for each in found))
        )
        return found

    monkeypatch.setattr(statuses, "current", noted)
    shop.apply(ab_test())
    await shop.settle(horizon=SOON)
    assert {phase for phase, ready in seen if ready} == {"Running"}
    assert "Ready" in {phase for phase, _ in seen}


@pytest.mark.parametrize("fault", [{}, {"action": "drop"}, {"action": "dropAfter"}, {"action": "status", "code": 503}])
async def test_every_transition_is_told_once(shop: World, faults: Faults, fault: dict[str, Any]) -> None:
    """Also where the first of its Events is not answered."""
    if fault:
        faults.put({"verb": "create", "resource": "events", "name": r"ramp\..*", "times": 1, **fault})
    shop.apply(canary())
    await shop.settle()
    assert faults.fired() == len({*fault} & {"action"})
    told = Counter(reason for about, _, reason in shop.events() if about == "ramp")
    once = ("Ready", "Running", "RampCompleted", "Succeeded")
    assert told == {**dict.fromkeys(once, 1), "StepTaken": 2, "Programmed": 4}


async def test_commands_end_an_ab_test(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    command(shop, "ab", "1:fly")
    await shop.settle()
    assert "is no command" in shop.status(EXP, "ab")["commandResult"]
    assert ("ab", "Warning", "BadCommand") in shop.events()
    command(shop, "ab", "2:promote")
    await shop.settle()
    assert (shop.status(EXP, "ab")["phase"], champion(shop)) == ("Succeeded", "v2")


ODD = [
    "go",
    ":",
    "1:",
    "1:restart:pause",
    "1\x00:abort",
    "\x1b[31mred",
    "1:promote " + "x" * 10_000,
    "x" * 10_000,
    "é" * 5_000,
]


async def test_a_command_of_any_text_is_answered_once_and_changes_nothing_else(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    before = (split(shop), shop.status(MD, "v1")["revision"])
    for number, text in enumerate(ODD, 1):
        for kind, name in ((EXP, "ab"), (MD, "v1")):
            shop.patch(kind, name, {"metadata": {"annotations": {"millrace.dev/command": text}}})
        await shop.settle(horizon=SOON)
        for kind, name in ((EXP, "ab"), (MD, "v1")):
            status = shop.status(kind, name)
            assert status["handledCommand"], text
            assert len(status["handledCommand"]) <= 253
            assert len(status["commandResult"]) < 400
            assert (status["handledCommand"] + status["commandResult"]).isprintable()
            assert len([each for each in shop.events() if each == (name, "Warning", "BadCommand")]) == number, text
    writes = shop.writes
    for text in ("", " \n"):
        for kind, name in ((EXP, "ab"), (MD, "v1")):
            shop.patch(kind, name, {"metadata": {"annotations": {"millrace.dev/command": text}}})
        await shop.settle(horizon=SOON)
    assert shop.writes == writes, "an empty one is none"
    assert (split(shop), shop.status(MD, "v1")["revision"]) == before
    assert shop.status(EXP, "ab")["phase"] == "Running"


async def test_deletion_in_the_middle_brings_traffic_back_before_the_object_goes(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    shop.delete(EXP, "ab")
    await shop.turn()
    assert shop.get(EXP, "ab") is not None
    await shop.settle()
    assert shop.get(EXP, "ab") is None
    rule = shop.get(r.DESTINATION_RULES, "shop")
    assert rule is not None
    assert ([subset["name"] for subset in rule["spec"]["subsets"]], split(shop)) == (["v1"], {"v1": 100})


async def test_a_deleted_challenger_is_held_until_the_route_has_left_it(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    shop.delete(MD, "v2")
    await shop.turn()
    await shop.turn()
    assert shop.get(MD, "v2") is not None
    assert split(shop) == {"v1": 100}
    await shop.settle()
    assert shop.get(MD, "v2") is None
    assert shop.status(EXP, "ab")["phase"] == "Inconclusive"


async def test_a_deleted_control_is_held_until_the_experiment_ends(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    shop.delete(MD, "v1")
    await shop.settle()
    assert split(shop) == {"v1": 80, "v2": 20}
    ready = shop.condition(MD, "v1", "Ready")
    assert ready[:2] == ("False", "Deleting")
    assert "the Experiment ab routes to it" in ready[2]
    command(shop, "ab", "1:promote")
    await shop.settle()
    assert (shop.get(MD, "v1"), champion(shop)) == (None, "v2")


async def test_an_unready_arm_gets_no_traffic(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    shop.kubelet.down.add("v2")
    await shop.settle()
    assert split(shop) == {"v1": 100}
    shop.kubelet.down.clear()
    await shop.settle()
    assert split(shop) == {"v1": 80, "v2": 20}


async def test_the_oldest_of_two_experiments_runs_and_the_other_follows_it(shop: World) -> None:
    shop.apply(ab_test("a-first"))
    shop.apply(ab_test("b-second"))
    await shop.settle()
    assert shop.status(EXP, "a-first")["phase"] == "Running"
    refused = shop.condition(EXP, "b-second", "Accepted")
    assert refused[:2] == ("False", "ServiceBusy")
    assert "'a-first'" in refused[2]
    command(shop, "a-first", "1:abort")
    await shop.settle()
    assert shop.status(EXP, "b-second")["phase"] == "Running"


async def test_an_invalid_older_experiment_does_not_keep_the_service(shop: World) -> None:
    wrong = builders.experiment("a-typo", "shop", "v1", "v9").build()
    shop.apply(wrong)
    shop.apply(ab_test("b-right"))
    await shop.settle()
    assert shop.condition(EXP, "a-typo", "Accepted")[:2] == ("False", "NotFound")
    assert shop.status(EXP, "b-right")["phase"] == "Running"


async def test_an_experiment_on_an_unknown_service_waits_for_it(world: World) -> None:
    world.apply(builders.experiment("ab", "nowhere", "v1", "v2").build())
    await world.settle()
    refused = world.condition(EXP, "ab", "Accepted")
    assert refused[:2] == ("False", "NotFound")
    assert "no ModelDeployment of this namespace serves behind 'nowhere'" in refused[2]
    world.delete(EXP, "ab")
    await world.settle()
    assert world.get(EXP, "ab") is None


ARMS = builders.experiment("ab", "shop", "v1", "v2").build()["spec"]["arms"]
CHANGES: dict[str, dict[str, Any]] = {
    "weight": {"arms": [ARMS[0], {**ARMS[1], "weight": 30}]},
    "order": {"arms": ARMS[::-1]},
    "deployment": {"arms": [ARMS[0], {**ARMS[1], "deployment": "v3"}]},
    "name": {"arms": [ARMS[0], {**ARMS[1], "name": "other"}]},
    "control": {
        "arms": [
            {"name": "control", "deployment": "v1", "weight": 5},
            {"name": "challenger", "deployment": "v2", "control": True},
        ]
    },
    "one more": {"arms": [*ARMS, {"name": "third", "deployment": "v3", "weight": 5}]},
    "service": {"service": "store"},
    "settle": {"routing": {"settle": "3s"}},
}


@pytest.mark.parametrize("case", CHANGES)
async def test_the_api_server_refuses_what_changes_the_definition_of_a_running_experiment(
    shop: World, case: str
) -> None:
    shop.apply(ab_test())
    await shop.settle()
    before = shop.get(EXP, "ab")
    assert before is not None
    spec = ExperimentSpec.model_validate({**before["spec"], **CHANGES[case]})
    if experiment_definition(spec) == before["status"]["definition"]:
        shop.patch(EXP, "ab", {"spec": CHANGES[case]})
    else:
        with pytest.raises(AssertionError, match="frozen once the experiment is Ready"):
            shop.patch(EXP, "ab", {"spec": CHANGES[case]})


FROZEN: dict[str, list[dict[str, Any]] | None] = {
    "a weight": [{**STEPS[0], "weight": 20}, *STEPS[1:]],
    "a hold": [{**STEPS[0], "hold": "1m"}, *STEPS[1:]],
    "all but the last": STEPS[-1:],
    "none": None,
}


@pytest.mark.parametrize("case", FROZEN)
async def test_the_api_server_refuses_an_edit_of_the_steps_up_to_the_current_one(shop: World, case: str) -> None:
    shop.apply(canary())
    shop.patch(EXP, "ramp", {"spec": {"steps": FROZEN[case]}})
    shop.patch(EXP, "ramp", {"spec": {"steps": STEPS}})
    while shop.status(EXP, "ramp").get("phase") != "Ready":
        await shop.turn()
    for _ in ("Ready", "Running"):
        with pytest.raises(AssertionError, match="steps up to the current one"):
            shop.patch(EXP, "ramp", {"spec": {"steps": FROZEN[case]}})
        shop.patch(EXP, "ramp", {"spec": {"steps": STEPS, "description": "the same steps"}})
        await shop.settle(horizon=SOON)
    assert shop.status(EXP, "ramp")["phase"] == "Running"


AHEAD: dict[str, list[dict[str, Any]]] = {
    "a weight": [STEPS[0], {**STEPS[1], "weight": 20}, STEPS[2]],
    "a hold": [STEPS[0], {**STEPS[1], "hold": "1h"}, STEPS[2]],
    "one less": STEPS[:2],
    "one more": [STEPS[0], {"weight": 20, "hold": "1h"}, *STEPS[1:]],
}


@pytest.mark.parametrize("case", AHEAD)
async def test_steps_still_ahead_may_be_changed_with_an_event_and_an_epoch(shop: World, case: str) -> None:
    shop.apply(canary())
    await shop.settle(horizon=SOON)
    shop.patch(EXP, "ramp", {"spec": {"steps": AHEAD[case]}})
    await shop.settle(horizon=SOON)
    status, stored = shop.status(EXP, "ramp"), shop.get(EXP, "ramp")
    assert stored is not None
    assert status["steps"] == stored["spec"]["steps"]
    assert [epoch["reason"] for epoch in status["epochs"]] == ["WeightsChanged", "StepsChanged"]
    assert shop.events().count(("ramp", "Normal", "StepsChanged")) == 1
    shop.patch(EXP, "ramp", {"spec": {"steps": STEPS}})
    await shop.settle(horizon=SOON)
    assert shop.events().count(("ramp", "Normal", "StepsChanged")) == 2


async def test_whoever_takes_the_steps_ahead_away_is_told_that_the_last_one_ends_in_promotion(shop: World) -> None:
    shop.apply(canary())
    await shop.settle(horizon=SOON)
    shop.patch(EXP, "ramp", {"spec": {"steps": STEPS[:1]}})
    await shop.settle(horizon=SOON)
    events = world_module.checked(shop.http.get(f"/api/v1/namespaces/{shop.namespace}/events"))["items"]
    [note] = [item["message"] for item in events if item["reason"] == "StepsChanged"]
    [arm] = [arm["name"] for arm in canary()["spec"]["arms"] if not arm.get("control")]
    assert note == f"the steps still ahead were changed; now they are: none. {arm} is promoted after the last step"


async def test_steps_of_an_experiment_that_is_ending_or_over_cannot_be_changed(shop: World) -> None:
    shop.apply(canary())
    await shop.settle(horizon=SOON)
    command(shop, "ramp", "1:abort")
    while shop.status(EXP, "ramp")["phase"] != "RollingBack":
        await shop.turn()
    for _ in ("RollingBack", "Failed"):
        with pytest.raises(AssertionError, match="no step is ahead any more"):
            shop.patch(EXP, "ramp", {"spec": {"steps": AHEAD["a hold"]}})
        await shop.settle()
    assert shop.status(EXP, "ramp")["phase"] == "Failed"


async def test_a_new_revision_of_an_arm_begins_an_epoch_with_one_event(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    before = shop.status(EXP, "ab")["epochs"]
    shop.apply(builders.model_deployment("v2", "file:///m/new.onnx", "shop").build())
    await shop.settle()
    after = shop.status(EXP, "ab")["epochs"]
    assert [epoch["reason"] for epoch in after] == ["WeightsChanged", "RevisionChanged"]
    assert after[1]["revisions"]["control"] == before[0]["revisions"]["control"]
    assert after[1]["revisions"]["challenger"] == shop.status(MD, "v2")["revision"]
    assert shop.events().count(("ab", "Normal", "RevisionChanged")) == 1


async def test_steps_cannot_be_added_to_a_running_experiment_that_has_none(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    with pytest.raises(AssertionError, match="steps up to the current one"):
        shop.patch(EXP, "ab", {"spec": {"steps": STEPS}})


async def test_an_experiment_whose_results_would_mix_two_definitions_says_so(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    path = f"{EXP.path(shop.namespace, 'ab')}/status"
    before = shop.status(EXP, "ab")["definition"]
    other = {"status": {"definition": "sha256:" + "0" * 64}}
    header = {"content-type": "application/merge-patch+json"}
    assert shop.http.patch(path, json=other, headers=header).status_code == 200
    shop.touched(EXP)
    await shop.settle()
    refused = shop.condition(EXP, "ab", "Accepted")
    assert refused[:2] == ("False", "Redefined")
    assert "a rerun with others is a new Experiment" in refused[2]
    assert "--subresource=status" in refused[2]
    taken_away = {"status": {"definition": None}}
    assert shop.http.patch(path, json=taken_away, headers=header).status_code == 200
    shop.touched(EXP)
    await shop.settle()
    assert shop.condition(EXP, "ab", "Accepted")[0] == "True"
    assert shop.status(EXP, "ab")["definition"] == before, "it is frozen again"


async def test_arms_are_frozen_once_it_runs(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    changed = ab_test()
    changed["spec"]["arms"][1]["deployment"] = "v3"
    with pytest.raises(AssertionError, match="frozen once the experiment is Ready"):
        shop.apply(changed)


@pytest.mark.parametrize("plural", ["services", "destinationrules", "virtualservices"])
async def test_a_route_that_a_webhook_forbids_is_told_with_the_servers_words_and_written_once_it_is_allowed(
    shop: World, faults: Faults, plural: str
) -> None:
    shop.delete(r.SERVICES, "shop-arms")
    faults.put({"verb": "create|update|patch", "resource": plural, "action": "status", "code": 403})
    shop.apply(ab_test())
    for _ in range(8):  # a world in which each turn tries in vain does not settle
        await shop.turn()
        shop.now += timedelta(seconds=6)
    assert faults.fired() >= 2, "it is tried again"
    assert shop.wish is not None
    assert shop.wish <= 30
    assert shop.kills == 0, "and no turn is broken off"
    refused = shop.condition(EXP, "ab", "RouteProgrammed")
    assert refused[:2] == ("False", "Forbidden")
    assert plural in refused[2]
    assert "fault injected: 403" in refused[2]
    faults.put()
    await shop.settle()
    assert shop.status(EXP, "ab")["phase"] == "Running"


async def test_an_edited_route_is_rewritten_and_a_fight_pauses_the_experiment(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    for number in range(3):
        assert shop.status(EXP, "ab")["phase"] == "Running"
        virtual = shop.get(r.VIRTUAL_SERVICES, "shop")
        assert virtual is not None
        rules = virtual["spec"]["http"]
        rules[-1]["timeout"] = f"{number + 1}s"
        shop.patch(r.VIRTUAL_SERVICES, "shop", {"spec": {"http": rules}})
        await shop.settle(horizon=timedelta())
        assert split(shop) == {"v1": 80, "v2": 20}
        shop.now += timedelta(seconds=1)
    await shop.settle(horizon=timedelta())
    assert shop.status(EXP, "ab")["phase"] == "Paused"
    assert [entry for entry in shop.events() if entry[2] == "RouteRewritten"] == [
        ("ab", "Warning", "RouteRewritten")
    ] * 3
    assert "ChildPutBack" not in [entry[2] for entry in shop.events()], "each edit is told once"
    assert ("ab", "Warning", "RouteFight") in shop.events()


async def test_a_users_own_virtual_service_for_the_host_makes_ours_its_delegate(shop: World) -> None:
    host = f"shop.{shop.namespace}.svc.cluster.local"
    root: dict[str, Any] = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "ours"},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "elsewhere"}}]}]},
    }
    shop.apply(root)
    shop.apply(ab_test())
    await shop.settle()
    assert shop.condition(EXP, "ab", "RouteProgrammed")[:2] == ("False", "NotDelegated")
    shop.apply({**root, "spec": {"hosts": [host], "http": [{"delegate": {"name": "shop"}}]}})
    await shop.settle()
    virtual = shop.get(r.VIRTUAL_SERVICES, "shop")
    assert virtual is not None
    assert "hosts" not in virtual["spec"]
    assert shop.condition(EXP, "ab", "RouteProgrammed")[0] == "True"
    assert shop.status(EXP, "ab")["phase"] == "Running"


async def test_a_virtual_service_of_somebody_else_under_our_name_is_left_alone(world: World) -> None:
    theirs = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "shop"},
        "spec": {"hosts": ["other.example.com"], "http": [{"route": [{"destination": {"host": "elsewhere"}}]}]},
    }
    world.apply(theirs)
    for name in ("v1", "v2"):
        world.apply(builders.model_deployment(name, f"file:///m/{name}.onnx", "shop").build())
    await world.settle()
    world.apply(ab_test())
    await world.settle()
    assert world.condition(EXP, "ab", "RouteProgrammed")[:2] == ("False", "NameTaken")
    assert world.condition(MD, "v1", "Ready")[0] == "True"
    virtual = world.get(r.VIRTUAL_SERVICES, "shop")
    assert virtual is not None
    assert virtual["spec"] == theirs["spec"]


async def test_a_namespace_with_a_running_experiment_can_be_deleted(shop: World) -> None:
    shop.apply(ab_test())
    await shop.settle()
    path = f"/api/v1/namespaces/{shop.namespace}"
    shop.http.delete(path)
    for _ in range(200):
        if shop.http.get(path).status_code == 404:
            return
        await shop.turn()
        shop.now += timedelta(seconds=2)
        for resource in (MD, EXP, r.SERVICES, r.VIRTUAL_SERVICES, r.DESTINATION_RULES):
            shop.touched(resource)
    raise AssertionError(f"the namespace does not go: {shop.failures[-3:]}")
