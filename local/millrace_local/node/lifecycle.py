"""The hooks and probes of a running container, which decide whether it is started and ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from millrace_kube.resources import Object
from millrace_local.node.launch import Launch
from millrace_local.node.probes import Kind, Probe, ProbeState, next_state, pause
from millrace_local.node.probing import ProbeFailedError, Prober
from millrace_local.node.processes import ContainerProcess, Processes
from millrace_local.node.status import ContainerRecord

# Kubernetes sets no limit to a postStart hook; a limit keeps a hanging one from blocking for ever.
HOOK_SECONDS = 600.0
_PROBES: tuple[tuple[Kind, str], ...] = (("readiness", "readinessProbe"), ("liveness", "livenessProbe"))


class EventEmitter(Protocol):
    """Writes an Event about the container's pod."""

    def __call__(self, reason: str, message: str, *, warning: bool = False) -> None:
        pass


class ContainerLifecycle:
    """The hooks and probes of one container.

    Args:
        record: the container's record; ``started`` and ``ready`` are updated here.
        prober: performs probes and hooks.
        processes: starts commands.
        emit: writes Events.
        changed: called whenever the record changes.
    """

    def __init__(
        self,
        record: ContainerRecord,
        prober: Prober,
        processes: Processes,
        *,
        emit: EventEmitter,
        changed: Callable[[], None],
    ) -> None:
        self.started = asyncio.Event()
        self._record = record
        self._prober = prober
        self._processes = processes
        self._emit = emit
        self._changed = changed
        self._launch: Launch | None = None
        self._closed = False

    def close(self) -> None:
        """Makes the container unready from now on, whatever its probe finds."""
        self._closed = True
        if self._record.ready:
            self._record.ready = False
            self._changed()

    async def follow(self, process: ContainerProcess, launch: Launch, grace: float) -> None:
        """Runs the hooks and probes of ``process`` until cancelled: the startup probe first, then the others together.

        Args:
            process: the container's command.
            launch: how it was started; commands of probes and hooks run in the same environment and folder.
            grace: seconds between SIGTERM and SIGKILL when a probe ends it.
        """
        self._launch = launch
        spec, begin = self._record.spec, asyncio.get_running_loop().time()
        if hook := (spec.get("lifecycle") or {}).get("postStart"):
            await self.hook("PostStart", hook, HOOK_SECONDS)
        if spec.get("startupProbe"):
            await self._probe("startup", spec["startupProbe"], process, begin, grace)
        self._record.started = True
        self._record.ready = not spec.get("readinessProbe") and not self._closed
        self.started.set()
        self._changed()
        async with asyncio.TaskGroup() as tasks:
            for kind, field in _PROBES:
                if spec.get(field):
                    tasks.create_task(self._probe(kind, spec[field], process, begin, grace))

    async def hook(self, name: str, action: Object, seconds: float) -> None:
        """Runs a lifecycle hook; a failure is an Event and nothing else."""
        try:
            await self._prober.perform(action, self._record.spec, seconds, self._command)
        except ProbeFailedError as error:
            self._emit(f"Failed{name}Hook", f"{name} hook failed: {error}", warning=True)

    async def _probe(self, kind: Kind, action: Object, process: ContainerProcess, begin: float, grace: float) -> None:
        """Probes again and again, at startup until success; a failed startup or liveness probe ends the process."""
        loop = asyncio.get_running_loop()
        probe = Probe.of(kind, action)
        # A failure counts only after one period: no server answers at the moment of its start.
        probe_state = ProbeState(counted_at=probe.delay)
        await asyncio.sleep(max(0.0, begin + probe.delay - loop.time()))
        while True:
            probe_state = await self._attempt(probe, probe_state, action, begin)
            if kind == "startup" and probe_state.passed:
                return
            if kind == "readiness" and self._record.ready != (probe_state.passed is True) and not self._closed:
                self._record.ready = probe_state.passed is True
                self._changed()
            if kind != "readiness" and probe_state.passed is False:
                self._emit("Killing", f"Container {self._record.name} failed {kind} probe, will be restarted")
                await process.stop(action.get("terminationGracePeriodSeconds") or grace)
                return
            await asyncio.sleep(pause(probe, probe_state, loop.time() - begin))

    async def _attempt(self, probe: Probe, probe_state: ProbeState, action: Object, begin: float) -> ProbeState:
        loop = asyncio.get_running_loop()
        try:
            await self._prober.perform(action, self._record.spec, probe.timeout, self._command)
        except ProbeFailedError as error:
            failed = next_state(probe, probe_state, ok=False, at=loop.time() - begin)
            if failed.counted_at != probe_state.counted_at:
                self._emit("Unhealthy", f"{probe.kind.capitalize()} probe failed: {error}", warning=True)
            return failed
        return next_state(probe, probe_state, ok=True, at=loop.time() - begin)

    async def _command(self, command: list[str], seconds: float) -> tuple[int, str]:
        if self._launch is None:
            raise ProbeFailedError("the container does not run")
        return await self._processes.output(
            command, self._launch.environ, self._launch.folder, seconds, self._launch.rights
        )
