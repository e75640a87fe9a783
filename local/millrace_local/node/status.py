"""A pod's status from what its containers do. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from millrace_core.api.conditions import find
from millrace_kube.conditions import with_condition
from millrace_kube.resources import Object
from millrace_kube.times import stamp

OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
KILLED = 137


@dataclass
class Record:
    """What one container does, as its status tells.

    Attributes:
        spec: the container.
        state: its present state: one of ``waiting``, ``running``, ``terminated``, as in the API.
        last: the state in which the run before this one ended.
        restarts: how often it was started again.
        started: whether its startup probe has passed.
        ready: whether its readiness probe passes.
        done: whether it has ended and will not be started again.
        was_lost: whether it ran under a node before this one, whose end it did not survive.
    """

    spec: Object
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last: Object = field(default_factory=dict)
    restarts: int = 0
    started: bool = False
    ready: bool = False
    done: bool = False
    was_lost: bool = False

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last end; None before any."""
        ended = self.state.get("terminated") or self.last.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running beside the others."""
        return self.spec.get("restartPolicy") == "Always"


@dataclass(frozen=True)
class Stage:
    """Where a pod stands.

    Attributes:
        initialized: whether all init containers have done their work.
        terminating: whether its deletion has begun.
        ended: whether no container will run any more.
        verdict: phase, reason and message where the node, not the containers, decided the end.
    """

    initialized: bool = False
    terminating: bool = False
    ended: bool = False
    verdict: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class Place:
    """Where a pod runs and since when."""

    address: str
    host_address: str
    started: datetime


def pod_status(
    pod: Object, inits: Sequence[Record], mains: Sequence[Record], stage: Stage, place: Place, now: datetime
) -> Object:
    """The whole status, keeping conditions of others."""
    phase = phase_of(pod, inits, mains, stage)
    address = place.address
    status: Object = {
        **{
            name: value
            for name, value in (pod.get("status") or {}).items()
            if name in ("qosClass", "nominatedNodeName")
        },
        "phase": phase,
        "hostIP": place.host_address,
        "hostIPs": [{"ip": place.host_address}],
        "startTime": (pod.get("status") or {}).get("startTime") or stamp(place.started),
        "containerStatuses": [container_status(record) for record in mains],
        "conditions": conditions(pod, inits, mains, stage, phase=phase, now=now),
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if inits:
        status["initContainerStatuses"] = [container_status(record) for record in inits]
    if stage.verdict:
        status |= {"reason": stage.verdict[1], "message": stage.verdict[2]}
    return status


def phase_of(pod: Object, inits: Sequence[Record], mains: Sequence[Record], stage: Stage) -> str:
    """The pod's phase."""
    if stage.verdict:
        return stage.verdict[0]
    if stage.ended:
        failed = any(record.exit_code for record in mains) or not all(record.done for record in mains)
        failed = failed or any(record.exit_code and not record.is_sidecar for record in inits)
        never_ran = any(record.exit_code is None for record in mains)
        return "Failed" if failed or never_ran else "Succeeded"
    if not stage.initialized:
        return "Pending"
    never_ran = any("waiting" in record.state and record.exit_code is None for record in mains)
    known = (pod.get("status") or {}).get("phase")
    return "Pending" if never_ran and known != "Running" else "Running"


def container_status(record: Record) -> Object:
    """The status of one container."""
    image = record.spec["image"]
    status: Object = {
        "name": record.name,
        "image": image,
        "imageID": image,
        "restartCount": record.restarts,
        "ready": record.ready,
        "started": record.started,
        "state": record.state,
        "lastState": record.last,
    }
    ended = record.state.get("running") or record.state.get("terminated") or record.last.get("terminated")
    if ended and ended.get("containerID"):
        status["containerID"] = ended["containerID"]
    # A running state carries no id of its own in the API.
    if "running" in record.state:
        running = {key: value for key, value in record.state["running"].items() if key != "containerID"}
        status["state"] = {"running": running}
    return status


def conditions(
    pod: Object, inits: Sequence[Record], mains: Sequence[Record], stage: Stage, *, phase: str, now: datetime
) -> list[Object]:
    """The pod's conditions; a transition time moves only when its status does."""
    present: list[Object] = (pod.get("status") or {}).get("conditions") or []
    over = phase in ("Succeeded", "Failed")
    unready = [record.name for record in mains if not record.ready]
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    shut = [gate for gate in gates if (find(present, gate) or {}).get("status") != "True"]
    if over:
        containers = (False, "PodCompleted" if phase == "Succeeded" else "PodFailed", "")
    elif unready:
        containers = (False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    else:
        containers = (True, "", "")
    ready = containers
    if containers[0] and stage.terminating:
        ready = (False, "PodTerminating", "the pod is being deleted")
    elif containers[0] and shut:
        ready = (False, "ReadinessGatesNotReady", f"the readiness gates are not open: {', '.join(shut)}")
    waiting = [record.name for record in inits if not record.done and not (record.is_sidecar and record.started)]
    initialized = (True, "PodCompleted" if phase == "Succeeded" else "", "")
    if not stage.initialized:
        initialized = (False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    result = present
    for kind, (holds, reason, message) in (
        ("PodReadyToStartContainers", (not over, "", "")),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", (True, "", "")),
    ):
        result = _set(result, kind, holds, reason, message, now)
    if stage.verdict and stage.verdict[1] == LOST:
        message = stage.verdict[2]
        result = with_condition(result, "DisruptionTarget", True, "TerminationByKubelet", message, now=now)
    return result


# The reason of a pod whose processes went with the node that ran them.
LOST = "NodeLost"


def _set(present: list[Object], kind: str, holds: bool, reason: str, message: str, now: datetime) -> list[Object]:
    updated = with_condition(present, kind, holds, reason, message, now=now)
    return [
        {name: value for name, value in entry.items() if value != "" or name not in ("reason", "message")}
        if entry["type"] == kind
        else entry
        for entry in updated
    ]


def terminated(
    code: int, *, reason: str, message: str, started: datetime, finished: datetime, container_id: str
) -> Object:
    """The terminated state of a container; ``code`` as a process's: negative for a signal."""
    state: Object = {
        "exitCode": code if code >= 0 else 128 - code,
        "reason": reason,
        "startedAt": stamp(started),
        "finishedAt": stamp(finished),
        "containerID": container_id,
    }
    if code < 0:
        state["signal"] = -code
    if message:
        state["message"] = message
    return {"terminated": state}


def restart_policy(spec: Object, pod: Object, *, init: bool) -> str:
    """When a container is started again: ``Always``, ``OnFailure`` or ``Never``; an init container that failed, as its
    pod's others would be.
    """
    policy = str(spec.get("restartPolicy") or pod["spec"].get("restartPolicy") or "Always")
    return "OnFailure" if init and policy == "Always" and not spec.get("restartPolicy") else policy


def is_final(policy: str, code: int) -> bool:
    """Whether a container that ended with this exit code stays so."""
    return policy == "Never" or (policy == "OnFailure" and code == 0)


def restored(spec: Object, status: Object | None, policy: str, now: datetime) -> Record:
    """A container as the node before this one left it.

    What ran then is gone, since processes never outlive their node: it ended unseen, by SIGKILL.

    Args:
        spec: the container.
        status: its status then; None when it has none.
        policy: its restart policy.
        now: the present time.
    """
    if status is None:
        return Record(spec)
    record = Record(spec, status["state"], status.get("lastState") or {}, status.get("restartCount", 0))
    if running := record.state.get("running"):
        unseen = {
            "exitCode": KILLED,
            "reason": "ContainerStatusUnknown",
            "message": "the node that ran the container ended",
            "startedAt": running.get("startedAt") or stamp(now),
            "finishedAt": stamp(now),
        }
        record.state, record.was_lost = {"terminated": unseen}, True
    if ended := record.state.get("terminated"):
        record.done = is_final(policy, ended["exitCode"])
    return record
