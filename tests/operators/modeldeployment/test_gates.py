"""Gates of a ModelDeployment: nothing unjudged gets traffic, and what serves goes on."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import orjson
import pytest

from millrace_core.api import names
from millrace_core.api.gates import Gates
from millrace_core.api.modeldeployment import Scaling
from millrace_kube import resources as r
from millrace_kube.cache import Cache
from millrace_kube.resources import Object, labels_of, name_of
from millrace_kube.writes import Apply
from millrace_operators.modeldeployment.command import CommandRequest
from millrace_operators.modeldeployment.gate_conditions import gates_passed
from millrace_operators.modeldeployment.gate_job import UnknownChampion
from millrace_operators.modeldeployment.gate_runs import GRACE, GateRun, read
from millrace_operators.modeldeployment.gates import ATTEMPTS, RETRY, GateDecision, Judged, decide
from millrace_operators.modeldeployment.observe import observe
from millrace_operators.modeldeployment.plan import Revision, plan
from millrace_operators.modeldeployment.pods import Failure
from millrace_operators.modeldeployment.reconcile import _gated
from millrace_operators.modeldeployment.writes import _judging
from tests.operators.conftest import Faults
from tests.operators.experiment.test_faults import killed_at_every_write, left
from tests.operators.modeldeployment.pod_states import ended, error, waiting
from tests.operators.modeldeployment.test_golden import PLATFORM
from tests.operators.modeldeployment.test_reconcile import model
from tests.operators.world import PASSED, START, World

MD = r.MODEL_DEPLOYMENTS
GOOD, BAD = "file:///m/good.onnx", "file:///m/bad.onnx"
ROWS = {"uri": "file:///m/rows.parquet", "label": "y"}
GATES = {"holdout": ROWS, "rules": [{"metric": "f1", "min": 0.8}]}
FAILED = {
    **PASSED,
    "verdict": "Fail",
    "rules": [{"rule": "f1 min 0.8", "verdict": "Fail", "message": "f1 is 0.1; at least 0.8 is asked for"}],
}
UNSAID = {
    **PASSED,
    "verdict": "Inconclusive",
    "rules": [{"rule": "f1 min 0.8", "verdict": "Inconclusive", "message": "f1 is not known: there is no such file"}],
}
JUDGED = Judged("m", "uid", "m-1", Gates.model_validate(GATES))


def gated(uri: str = GOOD, gates: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return model(uri=uri, gates=gates or GATES, **more)


def decided(
    kept: dict[str, Any] | None = None, *runs: GateRun, command: CommandRequest | None = None, now: Any = START
) -> GateDecision:
    return decide(JUDGED, kept or {}, runs, command or CommandRequest(), now)


def finished(name: str, result: dict[str, Any] | None = None, failure: Failure | None = None) -> GateRun:
    return GateRun(name, ended=True, result=result, failure=failure)


_UID = re.compile(r"hash(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Pure.


@pytest.mark.parametrize("there", [True, False])
def test_a_champion_whose_model_is_not_known_just_now_is_waited_for_and_is_not_none(there: bool) -> None:
    compared = {"holdout": ROWS, "rules": [{"metric": "f1", "notWorseThan": "champion"}]}
    stable = {"kind": "Service", "metadata": {"name": "shop", "annotations": {names.CHAMPION: "n"}}}
    cache, document = Cache(), owner(gated(gates=compared), "m")
    for resource, item in ((MD, document), (r.SERVICES, stable), *([(MD, owner(model("n"), "n"))] if there else [])):
        place = {"namespace": "default", "resourceVersion": "1", "uid": f"uid-{name_of(item)}"}
        cache.upsert(resource, {**item, "metadata": {**place, **item["metadata"]}})
    observed = observe(cache, document, PLATFORM)
    assert observed.other_model == (UnknownChampion("n") if there else None)
    gated_now = _gated(observed, START, accepted=True)
    jobs = [each for each in _judging(PLATFORM, observed, gated_now, accepted=True) if isinstance(each, Apply)]
    assert len(jobs) == (0 if there else 1)
    assert (gated_now.failure is not None and gated_now.failure.reason == "ChampionUnknown") is there
    assert (gated_now.wake is not None) is there
    said = str((gated_now.record or {})["message"])
    assert said.startswith("its gates compare with the champion n" if there else "the Job "), "no Job judges yet"


def owner(document: dict[str, Any], uid: str) -> dict[str, Any]:
    metadata = {
        "namespace": "default",
        "generation": 1,
        "resourceVersion": "1",
        "uid": uid,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {**document, "metadata": {**document["metadata"], **metadata}}


def test_a_judgement_opens_only_once_it_is_stored() -> None:
    first = decided()
    assert (first.start != "", first.opens, dict(first.record or {})["verdict"]) == (True, False, "Running")
    passed = decided(dict(first.record or {}), finished(first.start, PASSED))
    assert (passed.opens, (passed.record or {})["verdict"], passed.start) == (False, "Pass", "")
    stored = decided(dict(passed.record or {}), finished(first.start, PASSED))
    assert (stored.opens, stored.record) == (True, passed.record)
    assert decided(dict(passed.record or {})).opens, "also when its Job is gone"


@pytest.mark.parametrize("result", [FAILED, UNSAID, {**PASSED, "verdict": "Perhaps"}])
def test_what_did_not_pass_holds_and_is_not_judged_again(result: dict[str, Any]) -> None:
    job = decided().start
    found = decided(None, finished(job, result))
    assert (found.opens, found.start) == (False, "")
    later = decided(dict(found.record or {}), now=START + timedelta(days=3))
    assert (later.opens, later.start, later.wake, later.record) == (False, "", None, found.record)


def test_an_edit_of_the_gates_and_a_new_revision_judge_again_and_a_way_back_does_not() -> None:
    job = decided().start
    record = dict(decided(None, finished(job, PASSED)).record or {})
    edited = Judged("m", "uid", "m-1", Gates.model_validate({**GATES, "rules": [{"metric": "f1", "min": 0.9}]}))
    other = Judged("m", "uid", "m-2", JUDGED.gates)
    for judged in (edited, other):
        found = decide(judged, record, (), CommandRequest(), START)
        assert (found.opens, found.start not in ("", job)) == (False, True)
    on_other = dict(decide(other, record, (), CommandRequest(), START).record or {})
    back = decided(on_other)
    assert (back.start, (back.record or {})["verdict"], (back.record or {})["digest"]) == ("", "Pass", PASSED["digest"])
    assert (back.opens, decided(dict(back.record or {})).opens) == (False, True)


def test_a_job_without_a_judgement_is_made_again_some_times_after_a_while() -> None:
    record: dict[str, Any] = {}
    made, now = [], START
    for attempt in range(1, ATTEMPTS + 1):
        running = decided(record, now=now)
        made.append(running.start)
        failed = decided(dict(running.record or {}), finished(running.start, None, Failure("OOMKilled", "…")), now=now)
        record = dict(failed.record or {})
        assert (record["verdict"], record["reason"], record["attempt"]) == ("Inconclusive", "OOMKilled", attempt)
        early = decided(record, finished(running.start, None, Failure("OOMKilled", "…")), now=now + RETRY / 2)
        assert (early.start, early.wake) == ("", now + RETRY if attempt < ATTEMPTS else None)
        now += RETRY
    assert len({*made}) == ATTEMPTS
    assert decided(record, now=now + timedelta(days=1)).start == ""


def test_commands_judge_again_or_let_through_and_are_remembered() -> None:
    record = dict(decided(None, finished(decided().start, FAILED)).record or {})
    again = decided(record, command=CommandRequest("1:run-gates", "run-gates"))
    assert again.start not in ("", record["job"])
    assert decided(dict(again.record or {})).start == again.start, "the same Job once the command is handled"
    skipped = decided(record, command=CommandRequest("2:skip-gates", "skip-gates"))
    assert ((skipped.record or {})["verdict"], (skipped.record or {})["command"]) == ("Skipped", "2:skip-gates")
    assert (skipped.opens, decided(dict(skipped.record or {})).opens) == (False, True)


def test_without_gates_everything_is_open_and_jobs_go() -> None:
    found = decide(None, {}, (finished("old"),), CommandRequest(), START)
    assert (found.opens, found.record, found.superfluous) == (True, None, ("old",))


def test_a_held_target_gets_no_pods_and_what_serves_already_keeps_them() -> None:
    old, new = Revision("old", 1, 1), Revision("new", 1, 1)
    held = plan("new", (old, new), "old", Scaling(), pinned={"old", "new"}, routed={"old"}, held=True)
    assert (held.active, dict(held.replicas), held.delete) == ("old", {"old": 1}, ("new",))
    assert plan("new", (new,), "", Scaling(), pinned={"new"}, routed=(), held=True).active == ""
    for recorded, routed in (("new", ()), ("", ("new",))):
        serving = plan("new", (new,), recorded, Scaling(), pinned={"new"}, routed=routed, held=True)
        assert (serving.active, dict(serving.replicas), serving.delete) == ("new", {"new": 1}, ())


def job(**status: Any) -> dict[str, Any]:
    container = {"name": "gate", "resources": {"limits": {"memory": "4Gi"}}}
    metadata = {"name": "j", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [container]}}}, "status": status}


def pod_of(init: dict[str, Any] | None = None, **gate: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"initContainerStatuses": [{"name": "fetch", **(init or {})}]}
    if gate:
        found["containerStatuses"] = [{"name": "gate", **gate}]
    return {"metadata": {"name": "j-0", "labels": {}, "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": found}


OVER = [
    {
        "type": "Failed",
        "status": "True",
        "reason": "BackoffLimitExceeded",
        "message": "too often",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
]
DONE = [{**OVER[0], "type": "Complete", "reason": "", "message": ""}]


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        ([pod_of(state=ended(137, "", "OOMKilled"))], "OOMKilled", "its limit of 4Gi was reached"),
        ([pod_of(state=ended(2, error("no device", "NoDevice")))], "NoDevice", "no device"),
        ([pod_of(state=ended(1, "Traceback"))], "ContainerCrashed", "Traceback"),
        ([pod_of({"state": ended(2, error("it does not exist"))})], "NotFound", "spec.model.uri: it does not exist"),
        ([pod_of({"name": "fetch-champion", "state": ended(2, error("gone"))})], "NotFound", "the champion's model"),
        ([], "BackoffLimitExceeded", "too often"),
    ],
)
def test_a_job_that_ended_without_a_judgement_says_why(pods: list[dict[str, Any]], reason: str, words: str) -> None:
    found = read(job(conditions=OVER), pods, START + GRACE)
    assert (found.ended, found.result) == (True, None)
    assert found.failure is not None
    assert found.failure.reason == reason
    assert words in found.failure.message


def test_a_job_that_gets_nowhere_says_what_it_waits_for() -> None:
    unscheduled = pod_of()
    said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have memory"}
    unscheduled["status"]["conditions"] = [said]
    found = read(job(), [unscheduled], START)
    assert (found.ended, found.failure) == (False, Failure("Unschedulable", "0/3 nodes have memory"))
    pulling = read(job(active=1), [pod_of(state=waiting("ErrImagePull", "not found"))], START)
    assert pulling.failure == Failure("ErrImagePull", "gate: not found")
    fresh = read(job(), [], START)
    assert (fresh.failure, fresh.wake) == (None, START + GRACE)
    refused = read(job(), [], START + GRACE)
    assert refused.failure is not None
    assert refused.failure.reason == "NoPods"


def test_the_end_of_a_job_and_of_its_pod_are_not_seen_at_once() -> None:
    early = read(job(conditions=DONE), [], START)
    assert (early.ended, early.wake) == (False, START + GRACE)
    late = read(job(conditions=DONE), [], START + GRACE)
    assert late.failure is not None
    assert (late.ended, late.failure.reason) == (True, "ResultLost")
    there = read(job(conditions=DONE), [pod_of(state=ended(0, PASSED, "Completed"))], START)
    assert (there.ended, there.result) == (True, PASSED)


def test_the_message_says_what_decided_who_serves_and_what_to_do() -> None:
    record = dict(decided(None, finished(decided().start, FAILED)).record or {})
    [failed] = gates_passed(GateDecision(record, opens=False), "m-0")
    assert (failed["status"], failed["reason"]) == ("False", "GateFailed")
    assert failed["message"].startswith("f1 is 0.1; at least 0.8 is asked for. m-1 gets no traffic, m-0 serves on. ")
    [first] = gates_passed(GateDecision(record, opens=False), "")
    assert "m-1 gets no traffic, and nothing serves" in first["message"]
    [serving] = gates_passed(GateDecision(record, opens=False), "m-1")
    assert "m-1 serves already and goes on" in serving["message"]
    unsaid = dict(decided(None, finished(decided().start, UNSAID)).record or {})
    [held] = gates_passed(GateDecision(unsaid, opens=False), "m-0")
    assert (held["status"], held["reason"]) == ("False", "GateInconclusive")
    assert 'millrace.dev/command="<id>:run-gates" judges it again' in held["message"]


# Against an API server.


async def test_a_good_model_is_judged_before_it_gets_pods_and_served_as_it_was_judged(world: World) -> None:
    world.kubelet.judgements[GOOD] = None
    world.apply(gated())
    await world.settle()
    assert world.status(MD, "m")["gates"]["verdict"] == "Running"
    assert world.condition(MD, "m", "Ready")[:2] == ("Unknown", "GatesRunning")
    assert world.all(r.DEPLOYMENTS) == []
    [made] = world.all(r.JOBS)
    assert {names.DEPLOYMENT, names.SERVICE, names.REVISION}.isdisjoint({*labels_of(made["spec"]["template"])})
    world.kubelet.judgements.clear()
    await world.settle()
    status = world.status(MD, "m")
    assert (status["gates"]["verdict"], status["gates"]["digest"]) == ("Pass", status["model"]["digest"])
    assert world.condition(MD, "m", "GatesPassed")[:2] == ("True", "GatesPassed")
    assert world.condition(MD, "m", "Ready")[0] == "True"
    pinned = world.get(r.CONFIG_MAPS, status["revision"])
    assert pinned is not None
    assert pinned["data"]["digest"] == status["gates"]["digest"]
    before = world.writes
    world.restart()
    await world.turn()
    assert world.writes == before, "a settled one costs no write, and is not judged again"
    assert [name_of(item) for item in world.all(r.JOBS)] == [name_of(made)]


async def test_a_model_that_fails_leaves_the_old_one_serving_until_a_person_lets_it_through(world: World) -> None:
    world.apply(gated())
    await world.settle()
    old = world.status(MD, "m")["revision"]
    world.kubelet.judgements[BAD] = FAILED
    world.apply(gated(BAD))
    await world.settle()
    status = world.status(MD, "m")
    assert (status["revision"], status["gates"]["verdict"]) == (old, "Fail")
    assert [name_of(item) for item in world.all(r.DEPLOYMENTS)] == [old]
    assert world.condition(MD, "m", "Available")[0] == "True"
    assert world.condition(MD, "m", "Ready")[:2] == ("False", "GateFailed")
    assert world.condition(MD, "m", "Ready")[2] == world.condition(MD, "m", "GatesPassed")[2]
    assert ("m", "Warning", "GateFailed") in world.events()
    jobs = len(world.all(r.JOBS))
    world.restart()
    await world.settle()
    assert len(world.all(r.JOBS)) == jobs
    world.patch(MD, "m", {"metadata": {"annotations": {"millrace.dev/command": "1:skip-gates"}}})
    await world.settle()
    status = world.status(MD, "m")
    assert (status["revision"], status["gates"]["verdict"]) == (status["targetRevision"], "Skipped")
    assert (status["revision"] != old, status["handledCommand"]) == (True, "1:skip-gates")
    assert ("m", "Warning", "GatesSkipped") in world.events()
    assert world.condition(MD, "m", "Ready")[0] == "True"


async def test_a_first_model_that_cannot_be_judged_serves_nothing_until_it_is(world: World) -> None:
    world.kubelet.judgements[GOOD] = UNSAID
    world.apply(gated())
    await world.settle()
    assert world.all(r.DEPLOYMENTS) == []
    assert world.all(r.SCALED_OBJECTS) == []
    assert world.condition(MD, "m", "GatesPassed")[:2] == ("False", "GateInconclusive")
    assert not world.status(MD, "m").get("revision")
    world.kubelet.judgements.clear()
    world.patch(MD, "m", {"metadata": {"annotations": {"millrace.dev/command": "1:run-gates"}}})
    await world.settle()
    assert world.condition(MD, "m", "Ready")[0] == "True"
    assert len(world.all(r.JOBS)) == 1, "the Job before it is gone"


async def test_the_model_that_serves_is_fetched_for_comparison_with_its_digest_enforced(world: World) -> None:
    compared = {"holdout": ROWS, "rules": [{"metric": "f1", "notWorseThan": "champion"}]}
    world.apply(gated(gates=compared))
    await world.settle()
    [first] = world.all(r.JOBS)
    assert len(first["spec"]["template"]["spec"]["initContainers"]) == 1, "there was no champion yet"
    world.apply(gated(BAD, gates=compared))
    other = model("n", uri="file:///m/other.onnx", gates=compared)
    world.apply(other)
    await world.settle()
    for job_of in world.all(r.JOBS):
        fetches = job_of["spec"]["template"]["spec"]["initContainers"][1:]
        env = {item["name"]: item.get("value") for fetch in fetches for item in fetch["env"]}
        assert env["MILLRACE_MODEL_URI"] in (GOOD, BAD)
        assert env["MILLRACE_MODEL_DIGEST"] == PASSED["digest"]
        assert "MILLRACE_PINNED_DIGEST" not in env


async def test_commands_on_gates_are_refused_where_there_are_none(world: World) -> None:
    world.apply(model())
    world.patch(MD, "m", {"metadata": {"annotations": {"millrace.dev/command": "1:skip-gates"}}})
    await world.settle()
    assert "this ModelDeployment has none" in world.status(MD, "m")["commandResult"]


@pytest.mark.slow
async def test_killed_at_every_write_it_ends_the_same(world: World, faults: Faults) -> None:
    async def chapter() -> list[Object]:
        world.kubelet.judgements[BAD] = FAILED
        world.apply(gated())
        await world.settle()
        world.apply(gated(BAD))
        await world.settle()
        assert world.condition(MD, "m", "GatesPassed")[:2] == ("False", "GateFailed")
        # A Job's selector holds its uid; and hashes in names, which differ from one run to the next, order them.
        held = sorted((orjson.loads(_UID.sub("uid", orjson.dumps(each).decode())) for each in left(world)), key=str)
        world.delete(MD, "m")
        await world.settle()
        for _ in range(200):  # the API server's garbage collector works on its own time
            if not left(world):
                return held
            await world.turn()
        raise AssertionError([item["kind"] for item in left(world)])

    await killed_at_every_write(world, faults, chapter, 15)
