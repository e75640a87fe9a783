"""What the executor does with refusals, and a controller's loop."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from millrace_kube import errors
from millrace_kube.resources import PODS
from millrace_local.controllers.actions import ActionPlan, Create, Executor
from millrace_local.controllers.loop import ControllerLoop
from tests.local.controllers.world import START


class Faulty:
    """Fails for one key, works for the other."""

    name = "faulty"
    workers = 1

    def __init__(self) -> None:
        self.planned: list[str] = []
        self.done = asyncio.Event()

    def wire(self, informers: Any, touch: Any) -> None:
        touch("n/bad")
        touch("n/good")

    def plan(self, key: str, now: datetime) -> ActionPlan:
        self.planned.append(key)
        if key == "n/bad":
            raise KeyError("spec")
        self.done.set()
        return ActionPlan()


class Refusing:
    """A client and informers that refuse all, and a recorder that remembers."""

    def __init__(self, status: int, reason: str = "") -> None:
        self.error = errors.of(status, "POST", "exceeded quota", reason)
        self.told: list[tuple[str, str, str]] = []

    async def create(self, *_: Any) -> Any:
        raise self.error

    def enqueue(self, about: Any, kind: str, reason: str, note: str) -> None:
        self.told.append((f"{about['apiVersion']} {about['kind']} {about['metadata']['name']}", reason, note))


CHILD = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}],
    }
}


async def test_a_child_that_the_server_will_not_have_is_told_to_its_owner() -> None:
    all_in_one = Refusing(403)
    executor = Executor(all_in_one, all_in_one, all_in_one)  # type: ignore[arg-type]
    with pytest.raises(errors.UnavailableError):
        await executor.perform([Create(PODS, CHILD)])
    assert all_in_one.told == [("batch/v1 Job j", "FailedCreate", "Error creating: POST: 403 exceeded quota")]


@pytest.mark.parametrize(("status", "reason"), [(409, "AlreadyExists"), (404, "NotFound")])
async def test_what_is_there_already_or_gone_is_no_failure(status: int, reason: str) -> None:
    all_in_one = Refusing(status, reason)
    await Executor(all_in_one, all_in_one, all_in_one).perform([Create(PODS, CHILD)])  # type: ignore[arg-type]
    assert all_in_one.told == []


class NoExecutor:
    async def perform(self, actions: Any) -> None:
        assert not actions


async def test_one_object_that_cannot_be_planned_does_not_stop_the_others() -> None:
    controller = Faulty()
    loop = ControllerLoop(controller, NoExecutor(), now=lambda: START)  # type: ignore[arg-type]
    loop.wire(None)  # type: ignore[arg-type]
    running = asyncio.create_task(loop.run())
    await asyncio.wait_for(controller.done.wait(), 5)
    running.cancel()
    await asyncio.wait([running])
    assert controller.planned[:2] == ["n/bad", "n/good"]
