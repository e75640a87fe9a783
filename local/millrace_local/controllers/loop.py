"""Runs one controller on a queue of its own: each key is planned from the stores, and the plan carried out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from millrace_kube.informer import Informers
from millrace_kube.loop import Loop
from millrace_kube.queue import Key, Requeue
from millrace_local.controllers.actions import ActionPlan, Executor


class Controller(Protocol):
    """One kind's rules.

    Attributes:
        name: for logs.
        workers: how many keys may be worked on at once.
    """

    name: str
    workers: int

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """Subscribes to what matters; ``touch(key)`` has a key (``namespace/name``) planned soon."""

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """Decides from the stores' present items alone."""


class ControllerLoop:
    """One controller at work."""

    def __init__(self, controller: Controller, executor: Executor, *, now: Callable[[], datetime]) -> None:
        self._controller = controller
        self._executor = executor
        self._now = now
        self._loop = Loop(
            {controller.name: self._reconcile}, workers=controller.workers, clock=lambda: now().timestamp()
        )

    def wire(self, informers: Informers) -> None:
        """Subscribes the controller; before the informers run."""
        self._controller.wire(informers, self._touch)

    async def run(self) -> None:
        """Works until cancelled; a write under way is finished or dropped whole, as the server takes it."""
        await self._loop.run()

    def _touch(self, key: str) -> None:
        self._loop.queue.add(Key(self._controller.name, *key.split("/")))

    async def _reconcile(self, key: Key) -> Requeue | None:
        plan = self._controller.plan(f"{key.namespace}/{key.name}", self._now())
        await self._executor.perform(plan.actions)
        return None if plan.again is None else Requeue(plan.again)
