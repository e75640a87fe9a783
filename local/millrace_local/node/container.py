"""One container at work: started, probed, restarted with back-off, stopped with grace."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

from millrace_core.base.errors import MillraceError
from millrace_kube.resources import PODS, Object
from millrace_kube.times import stamp
from millrace_local.node import images, logs
from millrace_local.node.launch import Launch
from millrace_local.node.machine import Machine, oom_kills
from millrace_local.node.probing import Prober
from millrace_local.node.processes import Process
from millrace_local.node.status import Record, is_final, terminated
from millrace_local.node.watch import Watch

LONGEST_MESSAGE = 4096
# A container that ran so long starts with a clean sheet.
FORGIVEN_SECONDS = 600.0
CANNOT_EXECUTE, NOT_FOUND = 126, 127


class Container:
    """Runs one container of a pod and keeps its record true.

    Args:
        record: what its status tells; kept up to date here.
        policy: its restart policy.
        pod: returns the pod as it is now.
        folder: the pod's folder.
        address: the pod's address.
        machine: the node's means.
        prepare: builds what to start, freshly for each start.
        changed: called whenever the record changes.
    """

    def __init__(
        self,
        record: Record,
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
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._crashes = 0
        self.watch = Watch(
            record, Prober(machine.session, address), machine.processes, tell=self._tell, changed=changed
        )

    async def run(self) -> None:
        """Runs the container until it has ended for good or is stopped."""
        if not images.is_runnable(self.record.spec["image"], self._machine.settings.run_images):
            await self._refuse_image()
            return
        if "terminated" in self.record.state and not self.record.done and not self._stopping.is_set():
            # Ended under a node before this one.
            self._count_restart()
        while not self._stopping.is_set() and not self.record.done:
            try:
                launch = await self._prepare(self.record.spec)
            except MillraceError as error:
                self._wait_for(error.reason, str(error))
                self._tell("Failed", f"Error: {error}", warning=True)
                await self._sleep(self._machine.settings.retry)
                continue
            if self._stopping.is_set():
                return
            began = self._machine.now()
            self.record.state = await self._once(launch, began)
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
            self._tell("Killing", f"Stopping container {self.record.name}")
            loop = asyncio.get_running_loop()
            end = loop.time() + grace
            if hook := (self.record.spec.get("lifecycle") or {}).get("preStop"):
                await self.watch.hook("PreStop", hook, grace)
            # A hook that used up the grace leaves two seconds, as a kubelet does.
            await process.stop(max(end - loop.time(), min(2.0, grace)))
        self._stopped.set()

    def close(self) -> None:
        """Takes the container out of use, ahead of ``stop``: it is unready from now on and not started again."""
        self._stopping.set()
        self.watch.close()

    def kill(self) -> None:
        """Ends the container at once."""
        self.close()
        if self._process:
            self._process.send_group(signal.SIGKILL)
        self._stopped.set()

    async def _refuse_image(self) -> None:
        message = images.refusal(self.record.spec["image"])
        self._wait_for("ImageNotRunnable", message)
        self._tell("ImageNotRunnable", message, warning=True)
        await self._stopping.wait()

    async def _once(self, launch: Launch, began: datetime) -> Object:
        """Starts the command, waits for its end and returns the terminated state."""
        name = self.record.name
        self.message_file.parent.mkdir(parents=True, exist_ok=True)
        self.message_file.write_bytes(b"")
        log_file = logs.rotate_run(self._folder / "logs", name)
        log = logs.LogPipe(log_file, now=self._machine.now)
        container_id = f"millrace://{self._pod()['metadata']['uid']}/{name}/{self.record.restarts}"
        out_of_memory = oom_kills()
        try:
            process = self._machine.processes.spawn(launch.command, launch.environ, launch.folder, log.writing)
        except OSError as error:
            log.started()
            await log.finish()
            message = f"cannot start {launch.command[0]!r}: {error.strerror or error}"
            self._tell("Failed", f"Error: {message}", warning=True)
            code = NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_EXECUTE
            return self._terminated(code, "StartError", message, began, container_id)
        log.started()
        self._process = process
        self.record.state = {"running": {"startedAt": stamp(began), "containerID": container_id}}
        self._changed()
        self._tell("Started", f"Started container {name}")
        grace = float(self._pod()["spec"].get("terminationGracePeriodSeconds", 30))
        watching = asyncio.create_task(self.watch.over(process, launch, grace))
        code = await process.wait()
        watching.cancel()
        await asyncio.wait({watching})
        if self._stopping.is_set():
            # What is left of its group has the rest of the grace.
            await self._stopped.wait()
        # As in a container, whose other processes end with its first.
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
        """The termination message: what the container wrote to its file, or the end of its log after a failure."""
        try:
            with self.message_file.open("rb") as file:
                message = file.read(LONGEST_MESSAGE).decode(errors="replace")
        except OSError:
            message = ""
        fall_back = self.record.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        return logs.tail(log_file) if not message and code and fall_back else message

    async def _back_off(self, began: datetime) -> None:
        """Waits before the next start: not at all the first time, then ever longer."""
        settings = self._machine.settings
        ran = (self._machine.now() - began).total_seconds()
        self._crashes = 1 if ran >= FORGIVEN_SECONDS else self._crashes + 1
        ended = self.record.state
        if self._crashes > 1:
            delay = min(settings.restart_delay * 2 ** (self._crashes - 2), settings.longest_delay)
            metadata = self._pod()["metadata"]
            where = f"{self.record.name} in pod {metadata['name']}_{metadata['namespace']}({metadata['uid']})"
            self.record.last = ended
            self._wait_for("CrashLoopBackOff", f"back-off {delay:g}s restarting failed container {where}")
            self._tell("BackOff", f"Back-off restarting failed container {where}", warning=True)
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
        """Sleeps, unless the container is stopped meanwhile."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _tell(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._machine.recorder.emit(PODS, self._pod(), reason, message, kind="Warning" if warning else "Normal")
