"""Runs components: starts each when those it needs are ready, checks its health, and restarts it when it ends.

The supervisor is one process without a network interface: others read its state file, and signal it or its components.
SIGTERM or SIGINT stops it and all of them. If it dies otherwise, the kernel ends its components (``die_with_parent``).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic, time
from typing import Any

from millrace_local.stack import backoff, health, logs, processes, readiness, state
from millrace_local.stack.components import Component
from millrace_local.stack.settings import StackPaths
from millrace_local.stack.state import ComponentState, ProcessIdentity, StackState

STARTING_POLL_SECONDS = 0.05
READY_POLL_SECONDS = 2.0
# A component under load may be slow to respond; after this time without a response it is restarted.
UNHEALTHY_SECONDS = 60.0
LOG_CHECK_SECONDS = 10.0


class Supervisor:
    """The components of one stack.

    Args:
        paths: where the state and the logs are.
        components: what to run.
        environ: the environment of every component.
        initial: the state before anything runs.
    """

    def __init__(
        self, paths: StackPaths, components: Sequence[Component], environ: Mapping[str, str], initial: StackState
    ) -> None:
        self._paths = paths
        self._components = components
        self._environ = environ
        waiting = {component.name: ComponentState(port=component.port) for component in components}
        self._state = replace(initial, components=waiting)
        self._ready = {component.name: asyncio.Event() for component in components}
        # Set, and replaced by another, when something that the component needs is not ready any more.
        self._losses = {component.name: asyncio.Event() for component in components}
        self._stopping = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs everything until ``stop`` is set, then stops it in reverse order."""
        self._set_phase("starting")
        tasks = {component.name: asyncio.create_task(self._keep_running(component)) for component in self._components}
        rotating = asyncio.create_task(self._rotate_logs())
        await stop.wait()
        self._set_phase("stopping")
        self._stopping.set()
        rotating.cancel()
        for component in reversed(self._components):
            # A component ends before those it depends on: pods report their end to the API server.
            tasks[component.name].cancel()
            with suppress(asyncio.CancelledError):
                await tasks[component.name]
        self._set_phase("stopped")

    async def _keep_running(self, component: Component) -> None:
        """Starts a component again whenever it ends."""
        for needed in component.after:
            await self._ready[needed].wait()
        if not component.command:
            await self._follow_health(component)
        failures = 0
        while True:
            started = monotonic()
            ended = await self._run_once(component)
            failures = backoff.failures(failures, monotonic() - started)
            restarts = self._state.components[component.name].restarts + 1
            self._update(
                component.name, process=ProcessIdentity(), health="restarting", message=ended, restarts=restarts
            )
            if failures >= backoff.EXITS_BEFORE_FAILED and not self._ready[component.name].is_set():
                self._state = replace(self._state, phase="failed", error=f"{component.name} {ended}")
                self._write()
            await asyncio.sleep(backoff.delay(failures))

    async def _run_once(self, component: Component) -> str:
        """Runs a component's process to its end; returns how it ended. If cancelled, it ends the process first."""
        with self._paths.log(component.name).open("ab") as log:
            log_start = log.tell()
            process = await asyncio.create_subprocess_exec(
                *component.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=component.directory or self._paths.root,
                env={**self._environ, **component.environ},
                start_new_session=True,
                preexec_fn=processes.die_with_parent(signal.SIGTERM),
            )
        identity = processes.identify(process.pid)
        self._update(component.name, process=identity, health="starting", message="")
        watching = asyncio.create_task(self._follow_health(component))
        ending = asyncio.create_task(process.wait())
        try:
            await asyncio.wait((watching, ending), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():  # it runs, but has failed its health check for too long
                process.kill()
            code = await ending
            said = logs.tail(self._paths.log(component.name), 5, since=log_start)
            return f"ended with exit code {code}" + (f": {said}" if said else "")
        finally:
            watching.cancel()
            if process.returncode is None:
                await _end(process, component.stop_seconds)
                self._update(component.name, process=ProcessIdentity(), health="stopped", message="")

    async def _follow_health(self, component: Component) -> None:
        """Updates a component's health; returns when it has been unhealthy for too long."""
        name, last_good = component.name, 0.0
        lost, since, is_settled = self._losses[name], time(), False
        while True:
            if lost.is_set():
                lost, since, is_settled = self._losses[name], time(), False
            lacking = readiness.lacking(component.needs, self._state.components)
            why = lacking or await asyncio.to_thread(health.failure, component.check, since)
            if lost.is_set():
                continue  # what the check saw may have been from before
            if not why:
                last_good, is_settled = monotonic(), True
                self._update(name, health="ready", message="")
                self._ready[name].set()
            elif lacking:
                last_good = last_good and monotonic()  # a restart would not help
                self._update(name, health="waiting", message=why)
            elif last_good:
                self._update(name, health="unhealthy", message=why)
                if component.command and monotonic() - last_good > UNHEALTHY_SECONDS:
                    return
            else:
                self._update(name, health="starting", message=why)
            with suppress(TimeoutError):
                async with asyncio.timeout(READY_POLL_SECONDS if is_settled else STARTING_POLL_SECONDS):
                    await lost.wait()

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_SECONDS)
            for path in self._paths.logs.glob("*.log"):
                with suppress(OSError):
                    logs.rotate(path)

    def _update(self, name: str, **changes: Any) -> None:
        before = self._state.components[name]
        after = replace(before, **changes)
        if after == before:
            return
        states = {**self._state.components, name: after}
        if before.health == "ready" and after.health != "ready":
            self._lose(name, states)
        phase = readiness.phase(self._state.phase, states)
        error = "" if phase == "ready" else self._state.error
        self._state = replace(self._state, components=states, phase=phase, error=error)
        self._write()

    def _lose(self, name: str, states: dict[str, ComponentState]) -> None:
        """Has all that needs ``name`` seen again, in the same write: nobody reads that they are ready without it."""
        for other in readiness.dependents(self._components, name):
            self._losses[other].set()
            self._losses[other] = asyncio.Event()
            if states[other].health == "ready":
                why = f"for {name}, which is {states[name].health}"
                states[other] = replace(states[other], health="waiting", message=why)

    def _set_phase(self, phase: state.Phase) -> None:
        self._state = replace(self._state, phase=phase, error="")
        self._write()

    def _write(self) -> None:
        # A full disk must not end running components; the next change writes the whole state again.
        with suppress(OSError):
            state.write(self._paths.state, self._state)


async def _end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """Sends SIGTERM, and SIGKILL to the group after ``seconds``."""
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def until_signalled(stop: asyncio.Event, running: Awaitable[None]) -> None:
    """Awaits ``running`` and sets ``stop`` at SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await running
