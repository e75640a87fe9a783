"""Watches over a running container: its hooks and its probes, and what they say about being started and ready."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from millrace_kube.resources import Object
from millrace_local.node.launch import Launch
from millrace_local.node.probes import Kind, Probe, Row, after, pause
from millrace_local.node.probing import ProbeFailedError, Prober
from millrace_local.node.processes import Process, Processes
from millrace_local.node.status import Record

# A postStart hook has as long as it needs, within reason.
HOOK_SECONDS = 600.0
_PROBES: tuple[tuple[Kind, str], ...] = (("readiness", "readinessProbe"), ("liveness", "livenessProbe"))


class Tell(Protocol):
    """Writes an event about the container's pod."""

    def __call__(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Writes it."""


class Watch:
    """The hooks and probes of one container.

    Args:
        record: the container's record; ``started`` and ``ready`` are kept true here.
        prober: looks at the pod.
        processes: starts commands.
        tell: writes events.
        changed: called whenever the record changes.
    """

    def __init__(
        self, record: Record, prober: Prober, processes: Processes, *, tell: Tell, changed: Callable[[], None]
    ) -> None:
        self.started = asyncio.Event()
        self._record = record
        self._prober = prober
        self._processes = processes
        self._tell = tell
        self._changed = changed
        self._launch: Launch | None = None
        self._closed = False

    def close(self) -> None:
        """The container is unready from now on, whatever its probe says."""
        self._closed = True
        if self._record.ready:
            self._record.ready = False
            self._changed()

    async def over(self, process: Process, launch: Launch, grace: float) -> None:
        """Watches over ``process`` until cancelled: the startup probe first, then the others together.

        Args:
            process: the container's command.
            launch: how it was started; commands of probes and hooks run in the same environment and folder.
            grace: seconds between SIGTERM and SIGKILL, should a probe end it.
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

    async def hook(self, name: str, action: Object, patience: float) -> None:
        """Runs a lifecycle hook; its failure is told and changes nothing else."""
        try:
            await self._prober.look(action, self._record.spec, patience, self._command)
        except ProbeFailedError as error:
            self._tell(f"Failed{name}Hook", f"{name} hook failed: {error}", warning=True)

    async def _probe(self, kind: Kind, action: Object, process: Process, begin: float, grace: float) -> None:
        """Looks again and again, a startup probe until it passes; a startup or liveness probe may end the process."""
        loop = asyncio.get_running_loop()
        probe = Probe.of(kind, action)
        # The first failure to count is the one a period later: nobody answers at the moment of the start.
        row = Row(counted_at=probe.delay)
        await asyncio.sleep(max(0.0, begin + probe.delay - loop.time()))
        while True:
            row = await self._look(probe, row, action, begin)
            if kind == "startup" and row.passed:
                return
            if kind == "readiness" and self._record.ready != (row.passed is True) and not self._closed:
                self._record.ready = row.passed is True
                self._changed()
            if kind != "readiness" and row.passed is False:
                self._tell("Killing", f"Container {self._record.name} failed {kind} probe, will be restarted")
                await process.stop(action.get("terminationGracePeriodSeconds") or grace)
                return
            await asyncio.sleep(pause(probe, row, loop.time() - begin))

    async def _look(self, probe: Probe, row: Row, action: Object, begin: float) -> Row:
        loop = asyncio.get_running_loop()
        try:
            await self._prober.look(action, self._record.spec, probe.timeout, self._command)
        except ProbeFailedError as error:
            failed = after(probe, row, ok=False, at=loop.time() - begin)
            if failed.counted_at != row.counted_at:
                self._tell("Unhealthy", f"{probe.kind.capitalize()} probe failed: {error}", warning=True)
            return failed
        return after(probe, row, ok=True, at=loop.time() - begin)

    async def _command(self, command: list[str], patience: float) -> tuple[int, str]:
        if self._launch is None:
            raise ProbeFailedError("the container does not run")
        return await self._processes.output(command, self._launch.environ, self._launch.folder, patience)
