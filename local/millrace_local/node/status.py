"""A pod's status, computed from the records of its containers. Pure."""

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
class ContainerRecord:
    """The state of one container.

    Attributes:
        spec: the container.
        state: the current state: one of ``waiting``, ``running``, ``terminated``, as in the API.
        last: the terminated state of the run before.
        restarts: how often it was restarted.
        started: whether its startup probe has passed.
        ready: whether its readiness probe passes.
        done: whether it has ended and will not be restarted.
        was_lost: whether it ran on an earlier node and ended with it.
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
        return str(self.spec["name"])

    @property
    def exit_code(self) -> int | None:
        """The exit code of the last run; None before it ended."""
        ended = self.state.get("terminated") or self.last.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running beside the others."""
        return self.spec.get("restartPolicy") == "Always"


@dataclass(frozen=True)
class PodStage:
    """How far a pod has come.

    Attributes:
        initialized: whether all init containers have finished.
        terminating: whether its deletion has begun.
        ended: whether no container will run any more.
        not_kept: the fields of its securityContext that this node does not keep.
        override: phase, reason and message where the node, not the containers, ended the pod.
    """

    initialized: bool = False
    terminating: bool = False
    ended: bool = False
    not_kept: tuple[str, ...] = ()
    override: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class PodPlacement:
    """Where a pod runs and since when."""

    address: str
    host_address: str
    started: datetime


def pod_status(
    pod: Object,
    inits: Sequence[ContainerRecord],
    mains: Sequence[ContainerRecord],
    stage: PodStage,
    placement: PodPlacement,
    now: datetime,
) -> Object:
    """The whole status; conditions of other writers are kept."""
    phase = phase_of(pod, inits, mains, stage)
    address = placement.address
    status: Object = {
        **{
            name: value
            for name, value in (pod.get("status") or {}).items()
            if name in ("qosClass", "nominatedNodeName")
        },
        "phase": phase,
        "hostIP": placement.host_address,
        "hostIPs": [{"ip": placement.host_address}],
        "startTime": (pod.get("status") or {}).get("startTime") or stamp(placement.started),
        "containerStatuses": [container_status(record) for record in mains],
        "conditions": conditions(pod, inits, mains, stage, phase=phase, now=now),
    }
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if inits:
        status["initContainerStatuses"] = [container_status(record) for record in inits]
    if stage.override:
        status |= {"reason": stage.override[1], "message": stage.override[2]}
    return status


def phase_of(pod: Object, inits: Sequence[ContainerRecord], mains: Sequence[ContainerRecord], stage: PodStage) -> str:
    if stage.override:
        return stage.override[0]
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


def container_status(record: ContainerRecord) -> Object:
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
    # The API's running state has no containerID.
    if "running" in record.state:
        running = {key: value for key, value in record.state["running"].items() if key != "containerID"}
        status["state"] = {"running": running}
    return status


def conditions(
    pod: Object,
    inits: Sequence[ContainerRecord],
    mains: Sequence[ContainerRecord],
    stage: PodStage,
    *,
    phase: str,
    now: datetime,
) -> list[Object]:
    """The pod's conditions; a transition time changes only with the status."""
    present: list[Object] = (pod.get("status") or {}).get("conditions") or []
    containers = _containers_ready(mains, phase)
    result = present
    for kind, (holds, reason, message) in (
        ("PodReadyToStartContainers", (phase not in _OVER, "", "")),
        ("Initialized", _initialized(inits, stage, phase)),
        ("Ready", _ready(pod, containers, stage)),
        ("ContainersReady", containers),
        ("PodScheduled", (True, "", "")),
    ):
        result = _set(result, kind, holds, reason, message, now)
    if stage.not_kept:
        message = f"the embedded node has no container runtime and does not keep {', '.join(stage.not_kept)}"
        result = with_condition(result, "SecurityContextKept", False, "NoContainerRuntime", message, now=now)
    if stage.override and stage.override[1] == LOST:
        message = stage.override[2]
        result = with_condition(result, "DisruptionTarget", True, "TerminationByKubelet", message, now=now)
    return result


# Whether a condition holds, its reason and its message.
_Verdict = tuple[bool, str, str]
_OVER = ("Succeeded", "Failed")


def _containers_ready(mains: Sequence[ContainerRecord], phase: str) -> _Verdict:
    if phase in _OVER:
        return False, "PodCompleted" if phase == "Succeeded" else "PodFailed", ""
    unready = [record.name for record in mains if not record.ready]
    if unready:
        return False, "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
    return True, "", ""


def _ready(pod: Object, containers: _Verdict, stage: PodStage) -> _Verdict:
    """As its containers are, unless the pod ends or one of its readiness gates is shut."""
    if not containers[0]:
        return containers
    if stage.terminating:
        return False, "PodTerminating", "the pod is being deleted"
    present = (pod.get("status") or {}).get("conditions") or []
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    shut = [gate for gate in gates if (find(present, gate) or {}).get("status") != "True"]
    if shut:
        return False, "ReadinessGatesNotReady", f"the readiness gates are not open: {', '.join(shut)}"
    return containers


def _initialized(inits: Sequence[ContainerRecord], stage: PodStage, phase: str) -> _Verdict:
    if stage.initialized:
        return True, "PodCompleted" if phase == "Succeeded" else "", ""
    waiting = [record.name for record in inits if not record.done and not (record.is_sidecar and record.started)]
    return False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]"


# The reason of a pod whose processes ended with their node.
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
    """The ``terminated`` state of a container; a negative ``code`` is a signal."""
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
    """``Always``, ``OnFailure`` or ``Never``. An init container is restarted only after a failure."""
    policy = str(spec.get("restartPolicy") or pod["spec"].get("restartPolicy") or "Always")
    return "OnFailure" if init and policy == "Always" and not spec.get("restartPolicy") else policy


def is_final(policy: str, code: int) -> bool:
    """Whether a container that ended with this exit code is not restarted."""
    return policy == "Never" or (policy == "OnFailure" and code == 0)


def restored(spec: Object, status: Object | None, policy: str, now: datetime) -> ContainerRecord:
    """The record of a container that an earlier node ran.

    A container that ran then is gone, since processes never survive their node: it counts as ended by SIGKILL.

    Args:
        spec: the container.
        status: its last reported status; None without one.
        policy: its restart policy.
        now: the present time.
    """
    if status is None:
        return ContainerRecord(spec)
    record = ContainerRecord(spec, status["state"], status.get("lastState") or {}, status.get("restartCount", 0))
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
