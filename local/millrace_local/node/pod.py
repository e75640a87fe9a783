"""One pod: volumes, init containers, containers, and its end with a grace period."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError, RetryError
from millrace_kube.resources import Object
from millrace_local.node import volumes
from millrace_local.node.container import Container
from millrace_local.node.environment import DownwardApi, MissingError, environment, references
from millrace_local.node.launch import Launch, base_environment, launch, message_mount
from millrace_local.node.machine import HOST_ADDRESS, Machine, search_path
from millrace_local.node.marks import NODE_MARK, POD_MARK
from millrace_local.node.references import fetch
from millrace_local.node.report import StatusWriter
from millrace_local.node.security import no_namespaces, not_kept, process_rights
from millrace_local.node.status import (
    LOST,
    ContainerRecord,
    PodPlacement,
    PodStage,
    pod_status,
    restart_policy,
    restored,
)

log = logging.getLogger(__name__)


class Pod:
    """Runs one pod from its binding to its end.

    Args:
        obj: the pod as bound to this node.
        address: its IP address.
        machine: what all pods of the node share.
    """

    def __init__(self, obj: Object, address: str, machine: Machine) -> None:
        self.address = address
        self.uid = str(obj["metadata"]["uid"])
        self.finished = asyncio.Event()
        self._machine = machine
        self._folder = machine.settings.pods / self.uid
        self._placement = PodPlacement(address, HOST_ADDRESS, machine.now())
        self._stage = PodStage(not_kept=not_kept(obj, machine.user))
        self._inits = _records(obj, "initContainers", "initContainerStatuses", machine)
        self._mains = _records(obj, "containers", "containerStatuses", machine)
        self._volumes: dict[str, Path] = {}
        self._writer = StatusWriter(machine.client, obj, self._status)
        self._containers = {
            id(record): self._container(record, init=record in self._inits) for record in (*self._inits, *self._mains)
        }
        self._closing = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._reporting_stopped = False

    @property
    def obj(self) -> Object:
        """The latest known version of the pod."""
        return self._writer.obj

    async def run(self) -> None:
        """Runs the pod to its end and reports its status."""
        writing = asyncio.create_task(self._writer.run())
        deadline = asyncio.create_task(self._keep_deadline())
        refreshing = asyncio.create_task(self._refresh())
        try:
            if self._was_lost():
                message = "the node that ran the pod ended, and its restartPolicy is Never"
                self._stage = replace(self._stage, override=("Failed", LOST, message))
            else:
                await self._run_containers()
            self._stage = replace(self._stage, ended=True)
            self._changed()
            if self._ending:
                await self._ending
            if not self._reporting_stopped:
                await self._writer.settled()
        finally:
            for task in (deadline, refreshing, writing):
                task.cancel()
            await asyncio.wait({deadline, refreshing, writing})
            self._machine.release(self.obj)
            self.finished.set()

    def update(self, obj: Object) -> None:
        """Takes a newer version of the pod; the first with a deletion timestamp begins its end."""
        self._writer.observe(obj)
        if not obj["metadata"].get("deletionTimestamp"):
            return
        grace = obj["metadata"].get("deletionGracePeriodSeconds")
        if grace == 0:
            self.kill()
        self.end(30.0 if grace is None else float(grace))

    def end(self, grace: float) -> None:
        """Begins the pod's end, once: unready, then ``preStop`` and SIGTERM, after ``grace`` seconds SIGKILL."""
        if self._ending is not None or self.finished.is_set():
            return
        serving = any(record.ready and record.spec.get("readinessProbe") for record in self._mains)
        self._stage = replace(self._stage, terminating=True)
        self._closing.set()
        for container in self._containers.values():
            container.close()
        self._changed()
        settle = min(self._machine.settings.settle, grace) if serving else 0.0
        self._ending = asyncio.create_task(self._end(grace, settle))

    def kill(self) -> None:
        """Ends all processes with SIGKILL."""
        self._closing.set()
        for container in self._containers.values():
            container.kill()

    def abandon(self) -> None:
        """Ends all processes with SIGKILL and reports nothing: the API server has no such pod any more."""
        self._writer.give_up()
        self.kill()
        self.end(0)

    def stop_reporting(self) -> None:
        """Writes no more status: the node ends, and the next one runs the pod from the status as it is."""
        self._reporting_stopped = True

    def remove_files(self) -> None:
        """Removes the pod's files."""
        volumes.remove(self._folder)

    async def _run_containers(self) -> None:
        if not self._folder.exists():
            # Of a pod that a restored API server has again, what the init containers made went with its files.
            for record in self._inits:
                record.done = False
        for name in ("home/tmp", "logs", "termination", "volumes"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        self._changed()
        await self._mount_volumes()
        async with asyncio.TaskGroup() as tasks:
            sidecars = await self._initialize(tasks)
            if sidecars is None:
                return
            self._stage = replace(self._stage, initialized=True)
            self._changed()
            await asyncio.gather(*(self._containers[id(record)].run() for record in self._mains))
            grace = float(self.obj["spec"].get("terminationGracePeriodSeconds", 30))
            for container in reversed(sidecars):
                await container.stop(grace)

    async def _initialize(self, tasks: asyncio.TaskGroup) -> list[Container] | None:
        """Runs the init containers in order; returns the sidecars among them, None when the pod ends here."""
        sidecars = []
        for record in self._inits:
            container = self._containers[id(record)]
            if self._closing.is_set():
                return None
            if record.is_sidecar:
                sidecars.append(container)
                running = tasks.create_task(container.run())
                starting = asyncio.create_task(container.lifecycle.started.wait())
                await asyncio.wait({running, starting}, return_when=asyncio.FIRST_COMPLETED)
                starting.cancel()
                continue
            await container.run()
            if not record.done or record.exit_code:
                for started in reversed(sidecars):
                    await started.stop(0)
                return None
            record.ready = True
        return None if self._closing.is_set() else sidecars

    async def _mount_volumes(self) -> None:
        """Creates the volumes; waits for missing Secrets and ConfigMaps."""
        while not self._closing.is_set():
            try:
                await self._fill_volumes()
            except MillraceError as error:
                self._machine.recorder.enqueue(self.obj, "Warning", "FailedMount", str(error))
                heals = isinstance(error, MissingError | RetryError)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._machine.settings.retry if heals else None)
            else:
                return

    async def _fill_volumes(self) -> None:
        listed = self.obj["spec"].get("volumes") or []
        needed = [reference for volume in listed for reference in volumes.references(volume)]
        resolved = await fetch(self._machine.client, self.obj, needed)
        for volume in listed:
            wanted = volumes.files(volume, self._downward_api(), resolved)
            folder = self._volumes[volume["name"]] = volumes.directory(volume, self._folder / "volumes")
            if wanted is not None:
                volumes.fill(folder, wanted)
            elif "emptyDir" in volume:
                folder.mkdir(parents=True, exist_ok=True)

    async def _refresh(self) -> None:
        """Updates volumes from Secrets and ConfigMaps now and then."""
        kinds = ("secret", "configMap", "projected", "downwardAPI")
        while any(volume.get(kind) for volume in self.obj["spec"].get("volumes") or [] for kind in kinds):
            await asyncio.sleep(self._machine.settings.refresh)
            try:
                await self._fill_volumes()
            except MillraceError as error:
                log.info("volumes of pod %s: %s", self.obj["metadata"]["name"], error)

    async def _keep_deadline(self) -> None:
        seconds = self.obj["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        since = (self.obj.get("status") or {}).get("startTime")
        end = (timestamps.parse(since) if since else self._placement.started) + timedelta(seconds=seconds)
        await asyncio.sleep((end - self._machine.now()).total_seconds())
        message = "Pod was active on the node longer than the specified deadline"
        self._stage = replace(self._stage, override=("Failed", "DeadlineExceeded", message))
        self.end(float(self.obj["spec"].get("terminationGracePeriodSeconds", 30)))

    async def _end(self, grace: float, settle: float) -> None:
        await asyncio.sleep(settle)
        await self._stop(self._mains, grace)
        await self._stop([record for record in self._inits if not record.done], grace)

    async def _stop(self, records: Iterable[ContainerRecord], grace: float) -> None:
        await asyncio.gather(*(self._containers[id(record)].stop(grace) for record in records))

    async def _prepare(self, spec: Object) -> Launch:
        """The command of a container, with the Secrets and ConfigMaps as they are now.

        Raises:
            MillraceError: a reference is missing or wrong.
        """
        resolved = await fetch(self._machine.client, self.obj, references(spec))
        own = environment(spec, self._downward_api(), resolved)
        home = self._folder / "home"
        settings, metadata = self._machine.settings, self.obj["metadata"]
        marks = {POD_MARK: self.uid, NODE_MARK: str(settings.root)}
        base = base_environment(
            path=search_path(),
            home=home,
            host=self.obj["spec"].get("hostname") or metadata["name"],
            address=self.address,
            proxy=settings.proxy,
            callers={"MILLRACE_ALLOWED_HOSTS": settings.known_hosts, "MILLRACE_MESH_SECRET": settings.mesh_secret},
        )
        environ = {**self._machine.inherited, **base, **self._machine.gpus(self.obj)}
        real = volumes.mounts(spec, self._volumes)
        real[message_mount(spec)] = self._folder / "termination" / str(spec["name"])
        rights = process_rights(self.obj, spec, self._machine.user)
        if rights.user is not None and not self._machine.gives_users:
            raise no_namespaces(self.obj, spec, rights.user)
        return launch(
            spec, own, base=environ, marks=marks, mounts=real, home=home, python=sys.executable, rights=rights
        )

    def _downward_api(self) -> DownwardApi:
        return DownwardApi(self.obj, self.address, HOST_ADDRESS, self._machine.allocatable)

    def _container(self, record: ContainerRecord, *, init: bool) -> Container:
        return Container(
            record,
            policy=restart_policy(record.spec, self._writer.obj, init=init),
            pod=lambda: self._writer.obj,
            folder=self._folder,
            address=self.address,
            machine=self._machine,
            prepare=self._prepare,
            changed=self._changed,
        )

    def _was_lost(self) -> bool:
        """Whether an earlier node ran the pod and its restart policy forbids another run."""
        lost = [record for record in (*self._inits, *self._mains) if record.was_lost]
        return bool(lost) and self.obj["spec"].get("restartPolicy") == "Never"

    def _changed(self) -> None:
        if not self._reporting_stopped:
            self._writer.changed()

    def _status(self, obj: Object) -> Object:
        return pod_status(obj, self._inits, self._mains, self._stage, self._placement, self._machine.now())


def _records(obj: Object, field: str, statuses: str, machine: Machine) -> list[ContainerRecord]:
    known = {status["name"]: status for status in (obj.get("status") or {}).get(statuses) or []}
    init = field == "initContainers"
    return [
        restored(spec, known.get(spec["name"]), restart_policy(spec, obj, init=init), machine.now())
        for spec in obj["spec"].get(field) or []
    ]
