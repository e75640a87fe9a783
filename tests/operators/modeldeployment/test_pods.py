"""What pods tell of the model and of what keeps them from serving."""

from __future__ import annotations

from typing import Any

from millrace_operators.modeldeployment.pods import Failure, Fetched, crashes, failure, measurements, starting
from tests.operators.modeldeployment.pod_states import DIGEST, ended, error, pod, serving, waiting

OTHER = "sha256:" + "cd" * 32
MISSING = error("s3://models/none.onnx does not exist")


def test_finished_fetches_tell_digest_and_size_first_one_first() -> None:
    late, early = serving("a"), serving("b", OTHER)
    late["status"]["initContainerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:09Z"
    early["status"]["initContainerStatuses"][0]["state"]["terminated"]["finishedAt"] = "2026-01-01T00:00:03Z"
    found = measurements([late, early])
    assert [(item.pod, item.model) for item in found] == [
        ("b", Fetched(OTHER, 1048576)),
        ("a", Fetched(DIGEST, 1048576)),
    ]


def test_a_pod_that_goes_or_failed_has_measured_nothing() -> None:
    leaving = serving("a")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    failed = pod("b", init={"state": ended(2, {"digest": DIGEST, "bytes": 1})})
    assert measurements([leaving, failed]) == []


def test_a_serving_pod_has_no_failure() -> None:
    assert failure([serving()]) is None


def test_a_pod_on_its_way_has_no_failure() -> None:
    assert (
        failure([pod("p", init={"state": waiting("PodInitializing")}, main={"state": waiting("ContainerCreating")})])
        is None
    )
    assert failure([pod("p", init={"state": {"running": {}}})]) is None
    assert failure([pod("p")]) is None


def test_a_failed_fetch_tells_its_own_message_and_field() -> None:
    expected = Failure("NotFound", "spec.model.uri: s3://models/none.onnx does not exist", fetching=True)
    assert failure([pod("p", init={"state": ended(2, MISSING)})]) == expected


def test_the_message_stays_while_the_fetch_waits_for_its_next_try_or_tries_again() -> None:
    for state in (waiting("CrashLoopBackOff", "back-off 40s"), {"running": {}}):
        found = failure([pod("p", init={"state": state, "lastState": ended(2, MISSING)})])
        assert found is not None
        assert "s3://models/none.onnx does not exist" in found.message


def test_a_crash_without_a_message_tells_the_exit_code_and_the_last_lines() -> None:
    found = failure([pod("p", init={"state": ended(0)}, main={"state": ended(3, "last words")})])
    assert found == Failure("ContainerCrashed", "serve ended with exit code 3: last words")


def test_a_signal_that_ended_a_container_is_named_and_explained() -> None:
    found = failure([pod("p", init={"state": ended(0)}, main={"state": ended(136, "last words")})])
    explained = "SIGFPE (integer arithmetic without a result, such as INT_MIN / -1)"
    assert found == Failure("ContainerCrashed", f"serve ended by {explained}: last words")


def test_out_of_memory_is_told_by_its_name_with_the_limit_and_the_field_that_raises_it() -> None:
    killed = pod("p", main={"state": waiting("CrashLoopBackOff"), "lastState": ended(137, "", "OOMKilled")})
    message = "serve was killed for want of memory, its limit of 4Gi was reached; raise spec.resources.limits.memory"
    assert failure([killed], {"serve": "4Gi"}) == Failure("OOMKilled", message)


def test_a_server_that_cannot_load_the_model_tells_why() -> None:
    found = failure(
        [pod("p", init={"state": ended(0)}, main={"state": ended(2, error("input 'x' is int8", "BadModel", ""))})]
    )
    assert found == Failure("BadModel", "input 'x' is int8")


def test_an_image_that_cannot_be_pulled_and_a_missing_secret_are_told() -> None:
    found = failure([pod("p", init={"state": waiting("ImagePullBackOff", "manifest unknown")})])
    assert found == Failure("ImagePullBackOff", "fetch: manifest unknown")
    found = failure([pod("p", init={"state": waiting("CreateContainerConfigError", 'secret "lake" not found')})])
    assert found == Failure("CreateContainerConfigError", 'fetch: secret "lake" not found')


def test_a_pod_that_fits_no_node_is_told() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no GPU"}
    assert failure([pod("p", conditions=[unscheduled])]) == Failure("Unschedulable", "0/3 nodes: no GPU")


def test_a_pod_that_is_going_tells_nothing() -> None:
    going = pod("p", init={"state": ended(2, MISSING)})
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert failure([going]) is None


def crashed(name: str, times: int, code: int, at: str) -> dict[str, Any]:
    """A pod that serves, after containers of it were ended."""
    found = serving(name)
    last = ended(code, "last words")
    last["terminated"]["finishedAt"] = at
    found["status"]["containerStatuses"][0] |= {"restartCount": times, "lastState": last}
    return found


def test_crashes_of_pods_that_serve_again_are_counted_and_the_last_one_is_told() -> None:
    early = crashed("a", 2, 136, "2026-01-01T00:00:01Z")
    late = crashed("b", 1, 139, "2026-01-01T00:00:02Z")
    told = crashes([late, serving(), early])
    assert told.startswith(
        "containers were ended and started again 3 times, at 2026-01-01T00:00:02Z for ContainerCrashed"
    )
    assert "SIGSEGV" in told
    assert "SIGFPE" not in told


def test_an_end_in_good_order_and_pods_that_do_not_serve_are_no_crashes() -> None:
    failing = crashed("a", 2, 136, "2026-01-01T00:00:01Z")
    failing["status"]["conditions"] = []
    going = crashed("b", 2, 136, "2026-01-01T00:00:01Z")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert crashes([serving(), crashed("c", 1, 0, "2026-01-01T00:00:01Z"), failing, going]) == ""


def test_what_starting_pods_are_at_is_told_with_the_moment_since_when() -> None:
    def running(at: str) -> dict[str, Any]:
        return {"state": {"running": {"startedAt": f"2026-01-01T00:00:0{at}Z"}}}

    assert starting([pod("a", init={"state": waiting("PodInitializing")}), serving()]) == ""
    found = starting(
        [
            pod("a", init=running("1"), main={"state": waiting("PodInitializing")}),
            pod("b", init={"state": ended(0)}, main=running("3")),
            pod("c", init={"state": ended(0)}, main=running("2")),
        ]
    )
    assert found == (
        "1 is fetching the model since 2026-01-01T00:00:01Z and 2 are loading the model since 2026-01-01T00:00:02Z"
    )
