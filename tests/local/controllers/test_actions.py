"""Differences as merge patches, and the queue of keys."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_kube import errors
from millrace_kube.resources import PODS, Resource
from millrace_local.controllers.actions import Create, Hands, Plan, difference
from millrace_local.controllers.loop import Loop, Queue
from tests.local.controllers.world import START

JSON = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def merged(target: Any, patch: Any) -> Any:
    """RFC 7396, as it stands there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


@given(OBJECTS, OBJECTS)
def test_a_difference_applied_as_a_merge_patch_gives_the_other_object(before: Any, after: Any) -> None:
    assert merged(before, difference(before, after)) == after


@given(OBJECTS)
def test_equal_objects_have_no_difference(obj: Any) -> None:
    assert difference(obj, dict(obj)) == {}


async def test_a_key_touched_many_times_is_taken_once_and_again_only_after_work() -> None:
    queue = Queue(lambda: START)
    for _ in range(3):
        queue.touch("a")
    queue.touch("b")
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    queue.touch("a")
    taking = asyncio.create_task(queue.take())
    await asyncio.sleep(0)
    assert not taking.done()
    queue.done("a")
    assert await taking == "a"


async def test_a_time_that_passed_while_the_machine_slept_is_noticed_by_the_clock() -> None:
    clock = [START]
    queue = Queue(lambda: clock[0])
    queue.touch_after("a", 3600)
    clock[0] += timedelta(hours=2)
    queue._arm("a")  # what the timer does every half minute
    assert await queue.take() == "a"


async def test_the_sooner_of_two_times_counts() -> None:
    queue = Queue(lambda: START)
    queue.touch_after("a", 1000)
    queue.touch_after("a", 0)
    queue.touch_after("a", 2000)
    assert await asyncio.wait_for(queue.take(), 1) == "a"


class Faulty:
    """Fails for one key, works for the other."""

    name = "faulty"
    workers = 1

    def __init__(self) -> None:
        self.planned: list[str] = []
        self.done = asyncio.Event()

    def wire(self, informers: Any, touch: Any) -> None:
        touch("bad")
        touch("good")

    def plan(self, key: str, now: datetime) -> Plan:
        self.planned.append(key)
        if key == "bad":
            raise KeyError("spec")
        self.done.set()
        return Plan()


class Refusing:
    """A client and informers that refuse all, and a recorder that remembers."""

    def __init__(self, status: int, reason: str = "") -> None:
        self.error = errors.of(status, "POST", "exceeded quota", reason)
        self.told: list[tuple[str, str, str]] = []

    async def create(self, *_: Any) -> Any:
        raise self.error

    def emit(self, resource: Resource, regarding: Any, reason: str, message: str, *, kind: str) -> None:
        self.told.append((f"{resource.api_version} {resource.kind} {regarding['metadata']['name']}", reason, message))


CHILD = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}],
    }
}


async def test_a_child_that_the_server_will_not_have_is_told_to_its_owner() -> None:
    all_in_one = Refusing(403)
    hands = Hands(all_in_one, all_in_one, all_in_one)  # type: ignore[arg-type]
    with pytest.raises(errors.UnavailableError):
        await hands.perform([Create(PODS, CHILD)])
    assert all_in_one.told == [("batch/v1 Job j", "FailedCreate", "Error creating: POST: 403 exceeded quota")]


@pytest.mark.parametrize(("status", "reason"), [(409, "AlreadyExists"), (404, "NotFound")])
async def test_what_is_there_already_or_gone_is_no_failure(status: int, reason: str) -> None:
    all_in_one = Refusing(status, reason)
    await Hands(all_in_one, all_in_one, all_in_one).perform([Create(PODS, CHILD)])  # type: ignore[arg-type]
    assert all_in_one.told == []


class NoHands:
    async def perform(self, actions: Any) -> None:
        assert not actions


async def test_one_object_that_cannot_be_planned_does_not_stop_the_others() -> None:
    controller, stop = Faulty(), asyncio.Event()
    loop = Loop(controller, NoHands(), now=lambda: START)  # type: ignore[arg-type]
    loop.wire(None)  # type: ignore[arg-type]
    running = asyncio.create_task(loop.run(stop))
    await asyncio.wait_for(controller.done.wait(), 5)
    stop.set()
    await running
    assert controller.planned[:2] == ["bad", "good"]
