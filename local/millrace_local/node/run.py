"""The node's loop: watches the pods bound to it, runs each, and cleans up after them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from millrace_core.base.errors import ReportError
from millrace_kube.client import Client
from millrace_kube.events import Recorder
from millrace_kube.informer import Informer
from millrace_kube.resources import PODS, Object
from millrace_kube.stopping import until
from millrace_kube.store import Store
from millrace_kube.times import now as wall_clock
from millrace_kube.watched import Watch
from millrace_local.node import volumes
from millrace_local.node.addresses import allocate, check_local
from millrace_local.node.machine import Machine, count_gpus, inherited
from millrace_local.node.marks import POD_MARK
from millrace_local.node.pod import Pod
from millrace_local.node.probing import session
from millrace_local.node.processes import Processes, sweep
from millrace_local.node.registration import Registration, holder, machine_resources, memory_bytes
from millrace_local.node.report import remove
from millrace_local.node.settings import NodeSettings

log = logging.getLogger(__name__)

# The longest grace period of a pod when the node ends, since the supervisor waits for the node.
LONGEST_GRACE = 10.0
SWEEP_SECONDS = 1.0


class NodePods:
    """The pods that run on this node, by uid."""

    def __init__(self, machine: Machine, pods: Store) -> None:
        self._machine = machine
        self._store = pods
        self._pods: dict[str, Pod] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended: set[str] = set()
        self._closed = False

    def changed(self, old: Object | None, new: Object | None) -> None:
        """Handles a change of a pod bound to this node."""
        obj = new or old
        if obj is None or self._closed:
            return
        if old and new and old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._removed(old)
        pod = self._pods.get(obj["metadata"]["uid"])
        if new is None:
            self._removed(obj)
        elif pod:
            self._update(pod, new)
        elif (new.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
            if new["metadata"].get("deletionTimestamp"):
                self._spawn(remove(self._machine.client, new))
        else:
            self._start(new)

    async def close(self) -> None:
        """Ends all pods. Their status stays as it is, so the next node starts them again."""
        self._closed = True
        for pod in self._pods.values():
            pod.stop_reporting()
            grace = float(pod.obj["spec"].get("terminationGracePeriodSeconds", 30))
            pod.end(min(grace, LONGEST_GRACE))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LONGEST_GRACE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def remove_old_folders(self) -> None:
        """Removes the folders of pods that no longer exist."""
        folder = self._machine.settings.pods
        known = {obj["metadata"]["uid"] for obj in self._store.items.values()}
        for present in folder.iterdir() if folder.is_dir() else ():
            if present.name not in known:
                volumes.remove(present)

    def _start(self, obj: Object) -> None:
        taken = {pod.address for pod in self._pods.values()}
        try:
            address = allocate(obj, taken, self._machine.settings.pod_cidr)
        except ReportError as error:
            self._machine.recorder.enqueue(obj, "Warning", "FailedCreatePodSandBox", str(error))
            asyncio.get_running_loop().call_later(self._machine.settings.refresh, self._retry, obj)
            return
        pod = self._pods[obj["metadata"]["uid"]] = Pod(obj, address, self._machine)
        self._spawn(self._run_pod(pod))
        pod.update(obj)

    def _retry(self, obj: Object) -> None:
        metadata = obj["metadata"]
        if present := self._store.get(metadata["namespace"], metadata["name"]):
            self.changed(present, present)

    async def _run_pod(self, pod: Pod) -> None:
        try:
            await pod.run()
        except Exception:
            log.exception("pod %s", pod.obj["metadata"]["name"])
        self._sweep_later(pod.uid)
        if pod.obj["metadata"].get("deletionTimestamp") and not self._closed:
            await remove(self._machine.client, pod.obj)

    def _update(self, pod: Pod, obj: Object) -> None:
        was_deleted = bool(pod.obj["metadata"].get("deletionTimestamp"))
        pod.update(obj)
        if pod.finished.is_set() and obj["metadata"].get("deletionTimestamp") and not was_deleted:
            self._spawn(remove(self._machine.client, obj))

    def _removed(self, obj: Object) -> None:
        """Handles a pod that the API server no longer has: ends its processes and removes its files."""
        uid = obj["metadata"]["uid"]
        if pod := self._pods.pop(uid, None):
            pod.abandon()
            self._spawn(self._remove_files_later(pod))
        else:
            volumes.remove(self._machine.settings.pods / uid)

    async def _remove_files_later(self, pod: Pod) -> None:
        await pod.finished.wait()
        pod.remove_files()

    def _sweep_later(self, uid: str) -> None:
        """Ends processes of ended pods that left their group; one sweep for all pods that end within a second."""
        if not self._ended:
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)
        self._ended.add(uid)

    def _sweep(self) -> None:
        sweep({f"{POD_MARK}={uid}" for uid in self._ended})
        self._ended.clear()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def run(
    client: Client, settings: NodeSettings, stop: asyncio.Event, *, now: Callable[[], datetime] = wall_clock
) -> None:
    """Runs the node until ``stop`` is set, then ends all its processes.

    Raises:
        ReportError: another node runs in the same folder.
        RejectError: this machine cannot listen on the addresses for pods.
    """
    check_local(settings.pod_cidr)
    settings.pods.mkdir(parents=True, exist_ok=True)
    machine_has = (os.cpu_count() or 1, memory_bytes(), count_gpus())
    capacity, allocatable = (
        machine_resources(*machine_has),
        machine_resources(*machine_has, overcommit=settings.overcommit),
    )
    recorder = Recorder(client, "millrace-node", clock=now)
    registration = Registration(
        client, settings.name, holder=holder(settings.root), capacity=capacity, allocatable=allocatable, now=now
    )
    async with Processes(settings.root) as processes, session() as probes:
        machine = Machine(settings, client, processes, probes, recorder, now, allocatable, inherited(os.environ))
        pods = Store(PODS, Watch(fields=f"spec.nodeName={settings.name}"))
        node = NodePods(machine, pods)
        pods.subscribe(node.changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(registration.run(stop))
            tasks.create_task(recorder.run(stop))
            tasks.create_task(until(stop, Informer(client, pods).run()))
            removing = tasks.create_task(_remove_old_folders(node, pods))
            try:
                await stop.wait()
            finally:
                removing.cancel()
                await node.close()


async def _remove_old_folders(node: NodePods, pods: Store) -> None:
    await pods.synced.wait()
    node.remove_old_folders()
