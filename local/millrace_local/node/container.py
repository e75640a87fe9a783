"""One container: started, probed, restarted with back-off, stopped with a grace period."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from millrace_core.base.errors import MillraceError
from millrace_kube.resources import Object
from millrace_kube.times import stamp
from millrace_local.node import images, logs
from millrace_local.node.launch import Launch
from millrace_local.node.lifecycle import ContainerLifecycle
from millrace_local.node.machine import Machine, oom_kills
from millrace_local.node.probing import Prober
from millrace_local.node.processes import ContainerProcess
from millrace_local.node.status import ContainerRecord, is_final, terminated

LONGEST_MESSAGE = 4096
# After a run of this length the back-off begins anew, as in a kubelet.
BACKOFF_RESET_SECONDS = 600.0
CANNOT_EXECUTE, NOT_FOUND = 126, 127


class Container:
    """Runs one container of a pod and keeps its record up to date.

    Args:
        record: the container's record; updated here.
        policy: its restart policy.
        pod: returns the current pod.
        folder: the pod's folder.
        address: the pod's address.
        machine: what all pods of the node share.
        prepare: builds the command for each start.
        changed: called whenever the record changes.
    """

    def __init__(
        self,
        record: ContainerRecord,
        *,
        policy: str,
        pod: Callable[[], Object],
        folder: Path,
        address: str,
        machine: Machine,
        prepare: Callable[[Object], Awaitable[Launch]],
        changed: Callable[[], None],
    ) -> None:
        self.record = record
        self.message_file = folder / "termination" / record.name
        self._policy = policy
        self._pod = pod
        self._folder = folder
        self._machine = machine
        self._prepare = prepare
        self._changed = changed
        self._process: ContainerProcess | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._crashes = 0
        self.lifecycle = ContainerLifecycle(
            record, Prober(machine.session, address), machine.processes, emit=self._emit, changed=changed
        )

    async def run(self) -> None:
        """Runs the container until it has ended for good or is stopped."""
        if not images.is_runnable(self.record.spec["image"], self._machine.settings.run_images):
            await self._refuse_image()
            return
        if "terminated" in self.record.state and not self.record.done and not self._stopping.is_set():
            # It ended while an earlier node ran it.
            self._count_restart()
        while not self._stopping.is_set() and not self.record.done:
            try:
                launch = await self._prepare(self.record.spec)
            except MillraceError as error:
                self._wait_for(error.reason, str(error))
                self._emit("Failed", f"Error: {error}", warning=True)
                await self._sleep(self._machine.settings.retry)
                continue
            if self._stopping.is_set():
                return
            began = self._machine.now()
            self.record.state = await self._run_once(launch, began)
            self.record.ready = self.record.started = False
            self.record.done = is_final(self._policy, self.record.exit_code or 0)
            self._changed()
            if not self.record.done and not self._stopping.is_set():
                await self._back_off(began)

    async def stop(self, grace: float) -> None:
        """Ends the container: ``preStop`` and SIGTERM within ``grace`` seconds, then SIGKILL."""
        self.close()
        process = self._process
        if process is not None and process.code is None:
            self._emit("Killing", f"Stopping container {self.record.name}")
            loop = asyncio.get_running_loop()
            end = loop.time() + grace
            if hook := (self.record.spec.get("lifecycle") or {}).get("preStop"):
                await self.lifecycle.hook("PreStop", hook, grace)
            # A hook that took the whole grace period leaves two seconds for SIGTERM, as in a kubelet.
            await process.stop(max(end - loop.time(), min(2.0, grace)))
        self._stopped.set()

    def close(self) -> None:
        """Makes the container unready, and lets no restart follow; ``stop`` comes after."""
        self._stopping.set()
        self.lifecycle.close()

    def kill(self) -> None:
        """Ends the container with SIGKILL."""
        self.close()
        if self._process:
            self._process.send_group(signal.SIGKILL)
        self._stopped.set()

    async def _refuse_image(self) -> None:
        message = images.refusal(self.record.spec["image"])
        self._wait_for("ImageNotRunnable", message)
        self._emit("ImageNotRunnable", message, warning=True)
        await self._stopping.wait()

    async def _run_once(self, launch: Launch, began: datetime) -> Object:
        """Starts the command, waits for its end and returns the ``terminated`` state."""
        name = self.record.name
        self.message_file.parent.mkdir(parents=True, exist_ok=True)
        self.message_file.write_bytes(b"")
        log_file = logs.rotate_run(self._folder / "logs", name)
        log = logs.LogPipe(log_file, now=self._machine.now)
        container_id = f"millrace://{self._pod()['metadata']['uid']}/{name}/{self.record.restarts}"
        out_of_memory = oom_kills()
        try:
            process = self._machine.processes.spawn(
                launch.command, launch.environ, launch.folder, log.writing, launch.rights
            )
        except OSError as error:
            log.started()
            await log.finish()
            message = f"cannot start {launch.command[0]!r}: {error.strerror or error}"
            self._emit("Failed", f"Error: {message}", warning=True)
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
            return self._terminated(code, "StartError", message, began, container_id)
        log.started()
        self._process = process
        self.record.state = {"running": {"startedAt": stamp(began), "containerID": container_id}}
        self._changed()
        self._emit("Started", f"Started container {name}")
        grace = float(self._pod()["spec"].get("terminationGracePeriodSeconds", 30))
        watching = asyncio.create_task(self.lifecycle.follow(process, launch, grace))
        code = await process.wait()
        watching.cancel()
        await asyncio.wait({watching})
        if self._stopping.is_set():
            # Other processes of its group have the rest of the grace period.
            await self._stopped.wait()
        # In a container all processes end with the first one.
        self._machine.processes.forget(process)
        await log.finish()
        reason = "Completed" if code == 0 else "Error"
        if code == -signal.SIGKILL and not self._stopping.is_set() and oom_kills() > out_of_memory:
            reason = "OOMKilled"
        return self._terminated(code, reason, self._message(code, log_file), began, container_id)

    def _terminated(self, code: int, reason: str, message: str, began: datetime, container_id: str) -> Object:
        return terminated(
            code,
            reason=reason,
            message=message,
            started=began,
            finished=self._machine.now(),
            container_id=container_id,
        )

    def _message(self, code: int, log_file: Path) -> str:
        """The termination message: the container's message file, or the end of its log after a failure."""
        try:
            with self.message_file.open("rb") as file:
                message = file.read(LONGEST_MESSAGE).decode(errors="replace")
        except OSError:
            message = ""
        fall_back = self.record.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        return logs.tail(log_file) if not message and code and fall_back else message

    async def _back_off(self, began: datetime) -> None:
        """Waits before a restart: not before the first one, then ever longer."""
        settings = self._machine.settings
        ran = (self._machine.now() - began).total_seconds()
        self._crashes = 1 if ran >= BACKOFF_RESET_SECONDS else self._crashes + 1
        ended = self.record.state
        if self._crashes > 1:
            delay = min(settings.restart_delay * 2 ** (self._crashes - 2), settings.longest_delay)
            metadata = self._pod()["metadata"]
            where = f"{self.record.name} in pod {metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            self.record.last = ended
            self._wait_for("CrashLoopBackOff", f"back-off {delay:g}s restarting failed container {where}")
            self._emit("BackOff", f"Back-off restarting failed container {where}", warning=True)
            await self._sleep(delay)
            if self._stopping.is_set():
                self.record.state = ended
                return
        self._count_restart()

    def _count_restart(self) -> None:
        if "terminated" in self.record.state:
            self.record.last = self.record.state
        self.record.restarts += 1

    def _wait_for(self, reason: str, message: str) -> None:
        self.record.state = {"waiting": {"reason": reason, "message": message}}
        self._changed()

    async def _sleep(self, seconds: float) -> None:
        """Sleeps until the time is over or the container is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _emit(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._machine.recorder.enqueue(self._pod(), "Warning" if warning else "Normal", reason, message)
