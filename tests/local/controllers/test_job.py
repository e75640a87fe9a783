"""Jobs: whole runs in a cluster in memory, and what is never counted twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.api.conditions import find, holds
from millrace_kube.resources import JOBS, PODS
from millrace_local.controllers.job import indexes
from millrace_local.controllers.job.children import TRACKING
from millrace_local.controllers.job.failures import seconds_to_wait
from millrace_local.controllers.pods import is_active
from tests.local.controllers.objects import Obj, job
from tests.local.controllers.world import START, StaleError, World


def started(**spec: Any) -> World:
    world = World()
    world.add(JOBS, job(**spec))
    world.settle_job("train")
    return world


def active(world: World) -> list[Obj]:
    return [pod for pod in world.all(PODS) if is_active(pod)]


def status(world: World) -> Obj:
    found: Obj = world.get(JOBS, "train")["status"]
    return found


def test_a_job_runs_its_pod_counts_it_and_is_complete() -> None:
    world = started()
    assert [pod["metadata"]["finalizers"] for pod in active(world)] == [[TRACKING]]
    assert status(world)["active"] == 1
    world.now += timedelta(seconds=5)
    world.finish(active(world)[0])
    world.settle_job("train")
    done = status(world)
    assert (done["succeeded"], done.get("active"), done["uncountedTerminatedPods"]) == (1, None, {})
    assert holds(done["conditions"], "Complete")
    assert done["completionTime"] == "2026-11-20T12:00:05Z"
    assert world.all(PODS)[0]["metadata"]["finalizers"] == []


def test_no_more_pods_run_than_are_still_needed() -> None:
    world = started(completions=5, parallelism=3)
    assert len(active(world)) == 3
    for pod in active(world):
        world.finish(pod)
    world.settle_job("train")
    assert len(active(world)) == 2
    for pod in active(world):
        world.finish(pod)
    world.settle_job("train")
    assert status(world)["succeeded"] == 5
    assert holds(status(world)["conditions"], "Complete")


def test_a_work_queue_is_done_when_one_pod_says_so_and_the_others_have_ended() -> None:
    world = started(parallelism=3)
    first, *others = active(world)
    world.finish(first)
    world.settle_job("train")
    assert len(active(world)) == 2
    assert not holds(status(world).get("conditions"), "Complete")
    for pod in others:
        world.finish(pod)
    world.settle_job("train")
    assert holds(status(world)["conditions"], "Complete")


def test_every_index_gets_a_pod_that_knows_it_and_failed_ones_are_repeated() -> None:
    world = started(completionMode="Indexed", completions=4, parallelism=2)
    seen = {}
    for _ in range(30):
        if not (running := active(world)):
            break
        pod = running[0]
        index = indexes.index_of(pod)
        variables = pod["spec"]["containers"][0]["env"]
        assert variables[0]["name"] == "JOB_COMPLETION_INDEX"
        assert pod["metadata"]["name"].startswith(f"train-{index}-")
        seen[index] = seen.get(index, 0) + 1
        world.finish(pod, code=1 if index == 2 and seen[index] == 1 else 0)
        world.now += timedelta(minutes=5)
        world.settle_job("train")
    assert seen == {0: 1, 1: 1, 2: 2, 3: 1}
    assert status(world)["completedIndexes"] == "0-3"
    assert status(world)["failed"] == 1
    assert holds(status(world)["conditions"], "Complete")


def tries_of(pod: Obj) -> str:
    return str(pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"])


def of_index(world: World, index: int) -> Obj:
    [pod] = [pod for pod in active(world) if indexes.index_of(pod) == index]
    return pod


def per_index(**spec: Any) -> World:
    return started(completionMode="Indexed", completions=2, parallelism=2, backoffLimitPerIndex=1, **spec)


def test_each_index_has_tries_and_a_back_off_of_its_own() -> None:
    world = per_index()
    assert [tries_of(pod) for pod in active(world)] == ["0", "0"]
    first = of_index(world, 0)
    world.finish(first, code=1)
    world.settle_job("train")
    assert world.get(PODS, first["metadata"]["name"])["metadata"]["finalizers"] == [TRACKING], "kept for its count"
    assert "failed" not in status(world)
    world.now += timedelta(seconds=10)
    world.settle_job("train")
    assert tries_of(of_index(world, 0)) == "1"
    assert status(world)["failed"] == 1
    world.finish(of_index(world, 0), code=1)
    world.settle_job("train")
    assert status(world)["failedIndexes"] == "0"
    assert len(active(world)) == 1, "the other index goes on"
    world.finish(of_index(world, 1))
    world.settle_job("train")
    failed = find(status(world)["conditions"], "Failed")
    assert (failed["reason"], status(world)["completedIndexes"]) == ("FailedIndexes", "1")
    assert (status(world)["failed"], status(world)["succeeded"]) == (2, 1)
    assert not [pod for pod in world.all(PODS) if pod["metadata"]["finalizers"]]


def test_more_failed_indexes_than_allowed_end_the_job_at_once() -> None:
    world = per_index(maxFailedIndexes=0)
    for _ in range(2):
        world.finish(of_index(world, 0), code=1)
        world.now += timedelta(seconds=10)
        world.settle_job("train")
    assert find(status(world)["conditions"], "FailureTarget")["reason"] == "MaxFailedIndexesExceeded"
    world.bury()
    world.settle_job("train")
    assert holds(status(world)["conditions"], "Failed")


def test_the_failure_policy_may_fail_one_index_and_does_not_count_disruptions_against_it() -> None:
    rules = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [2]}},
    ]
    world = per_index(podFailurePolicy={"rules": rules})
    for _ in range(3):
        disrupted = [{"type": "DisruptionTarget", "status": "True"}]
        world.finish(of_index(world, 0), code=137, conditions=disrupted)
        world.now += timedelta(minutes=10)
        world.settle_job("train")
    assert tries_of(of_index(world, 0)) == "0"
    assert "failed" not in status(world)
    world.finish(of_index(world, 1), code=2)
    world.settle_job("train")
    assert status(world)["failedIndexes"] == "1"
    world.finish(of_index(world, 0))
    world.settle_job("train")
    assert find(status(world)["conditions"], "Failed")["reason"] == "FailedIndexes"


def test_retries_wait_ever_longer_and_end_at_the_limit() -> None:
    world = started(backoffLimit=2)
    for wait in (10, 20):
        world.finish(active(world)[0], code=1)
        world.settle_job("train")
        world.now += timedelta(seconds=wait - 1)
        world.settle_job("train")
        assert active(world) == []
        world.now += timedelta(seconds=1)
        world.settle_job("train")
        assert len(active(world)) == 1
    world.finish(active(world)[0], code=1)
    world.settle_job("train")
    failed = find(status(world)["conditions"], "Failed")
    assert (failed["reason"], status(world)["failed"]) == ("BackoffLimitExceeded", 3)
    assert find(status(world)["conditions"], "FailureTarget")["status"] == "True"


def test_a_success_ends_the_row_of_failures() -> None:
    def ended(name: str, phase: str, second: int) -> Obj:
        at = f"2026-11-20T12:00:{second:02d}Z"
        state = {"name": "main", "state": {"terminated": {"exitCode": int(phase == "Failed"), "finishedAt": at}}}
        return {"metadata": {"name": name}, "status": {"phase": phase, "containerStatuses": [state]}}

    failed = [ended("a", "Failed", 0), ended("b", "Failed", 1), ended("d", "Failed", 30)]
    pods = [*failed, ended("c", "Succeeded", 20)]
    assert seconds_to_wait(pods, failed, 10, START + timedelta(seconds=30)) == 10


def test_restarts_in_place_count_as_tries() -> None:
    world = started(backoffLimit=2, restartPolicy="OnFailure")
    pod = active(world)[0]
    world.set_status(
        PODS, pod["metadata"]["name"], phase="Running", containerStatuses=[{"name": "main", "restartCount": 2}]
    )
    world.settle_job("train")
    world.finish(world.all(PODS)[0], code=137)
    world.bury()
    world.settle_job("train")
    assert find(status(world)["conditions"], "Failed")["reason"] == "BackoffLimitExceeded"


def test_a_job_past_its_deadline_ends_its_pods_before_it_is_failed() -> None:
    world = started(activeDeadlineSeconds=60)
    world.now += timedelta(seconds=61)
    world.settle_job("train")
    assert not holds(status(world)["conditions"], "Failed")
    world.finish(world.all(PODS)[0], code=143)
    world.bury()
    world.settle_job("train")
    assert find(status(world)["conditions"], "Failed")["reason"] == "DeadlineExceeded"


POLICY = {
    "rules": [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [2]}},
    ]
}


def test_the_failure_policy_ends_the_job_at_an_exit_code_that_retries_cannot_mend() -> None:
    world = started(podFailurePolicy=POLICY)
    world.finish(active(world)[0], code=2)
    world.settle_job("train")
    failed = find(status(world)["conditions"], "Failed")
    assert failed["reason"] == "PodFailurePolicy"
    assert "exit code 2 matching FailJob rule at index 1" in failed["message"]


def test_the_failure_policy_does_not_count_what_the_node_did() -> None:
    world = started(podFailurePolicy=POLICY, backoffLimit=0)
    world.finish(active(world)[0], code=137, conditions=[{"type": "DisruptionTarget", "status": "True"}])
    world.settle_job("train")
    assert "failed" not in status(world)
    assert len(active(world)) == 1


def test_a_suspended_job_loses_its_pods_and_counts_none_as_failed() -> None:
    world = started(parallelism=2, completions=2)
    world.edit(JOBS, "train", suspend=True)
    world.settle_job("train")
    world.bury()
    world.settle_job("train")
    assert (world.all(PODS), status(world).get("failed"), status(world).get("startTime")) == ([], None, None)
    assert holds(status(world)["conditions"], "Suspended")
    world.edit(JOBS, "train", suspend=False)
    world.settle_job("train")
    assert (len(active(world)), status(world)["startTime"]) == (2, "2026-11-20T12:00:00Z")


def test_a_finished_job_is_removed_when_its_time_to_live_is_over() -> None:
    world = started(ttlSecondsAfterFinished=60)
    world.finish(active(world)[0])
    world.settle_job("train")
    world.now += timedelta(seconds=59)
    world.settle_job("train")
    assert world.all(JOBS)
    world.now += timedelta(seconds=1)
    world.settle_job("train")
    assert world.all(JOBS) == []


def test_a_pod_deleted_before_it_was_counted_is_counted_all_the_same() -> None:
    world = started(completions=2)
    pod = active(world)[0]
    world.finish(pod)
    world.remove(PODS, pod["metadata"]["name"])
    world.settle_job("train")
    assert status(world)["succeeded"] == 1
    assert len(active(world)) == 1


@pytest.mark.parametrize("spec", [{}, {"completionMode": "Indexed", "backoffLimitPerIndex": 100}])
@given(cuts=st.lists(st.integers(0, 3), max_size=30), codes=st.lists(st.sampled_from([0, 0, 1]), min_size=12))
def test_a_controller_killed_after_any_write_counts_every_pod_exactly_once(
    spec: Obj, cuts: list[int], codes: list[int]
) -> None:
    world = started(completions=4, parallelism=2, backoffLimit=1000, **spec)
    outcomes = {0: 0, 1: 0}
    remaining = iter(codes)
    for cut in [*cuts, *[None] * 60]:
        for pod in active(world):
            code = next(remaining, 0)
            outcomes[code] += 1
            world.finish(pod, code)
        world.now += timedelta(minutes=20)
        try:
            world.step_job("train", limit=cut)
        except StaleError:
            continue
        if holds(world.get(JOBS, "train").get("status", {}).get("conditions"), "Complete"):
            break
    done = status(world)
    assert holds(done["conditions"], "Complete")
    assert (done["succeeded"], done.get("failed", 0)) == (outcomes[0], outcomes[1])
    assert outcomes[0] == 4


@given(st.sets(st.integers(0, 60)))
def test_completed_indexes_survive_their_text_form(present: set[int]) -> None:
    assert indexes.parse(indexes.render(present), 61) == present


@pytest.mark.parametrize(("present", "text"), [({1, 3, 4, 5, 7}, "1,3-5,7"), ({0, 1}, "0,1"), (set(), "")])
def test_completed_indexes_are_written_as_kubernetes_does(present: set[int], text: str) -> None:
    assert indexes.render(present) == text
