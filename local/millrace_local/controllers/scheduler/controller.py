"""Which changes make a pod worth placing, and what the placing sees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from millrace_kube.informer import Informers
from millrace_kube.resources import NODES, PODS, Object, deleting, key_of
from millrace_local.controllers.actions import ActionPlan, Bind
from millrace_local.controllers.pods import is_finished, node_name
from millrace_local.controllers.scheduler.plan import Candidate, plan
from millrace_local.controllers.scheduler.resources import added, requested

DEFAULT_SCHEDULER = "default-scheduler"


class SchedulerController:
    """Places pods that have no node yet. One worker: two placements at once could take the same room."""

    name = "scheduler"
    workers = 1

    def __init__(self) -> None:
        # Bindings that the watch has not shown yet, by pod uid.
        self._placed: dict[str, tuple[str, Object]] = {}
        self._waiting: set[str] = set()

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A pod is placed when it appears; those that wait, again whenever room or a node appears."""
        self._pods = informers.of(PODS)
        self._nodes = informers.of(NODES)
        self._pods.index("node", node_name)

        def retry() -> None:
            for key in sorted(self._waiting):
                touch(key)

        def of_pod(old: Object | None, new: Object | None) -> None:
            pod = new or old
            if pod and (new is None or new["spec"].get("nodeName")):
                self._placed.pop(pod["metadata"]["uid"], None)
                self._waiting.discard(key_of(pod))
            if new and not new["spec"].get("nodeName"):
                touch(key_of(new))
            held = old is not None and old["spec"].get("nodeName") and not is_finished(old)
            if held and (new is None or is_finished(new)):
                retry()

        def of_node(old: Object | None, new: Object | None) -> None:
            if old is None or new is None or _admits(old) != _admits(new):
                retry()

        self._pods.subscribe(of_pod)
        self._nodes.subscribe(of_node)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """Places the pod, if it is to be placed here."""
        pod = self._pods.items.get(key)
        if pod is None or not _is_ours(pod):
            self._waiting.discard(key)
            return ActionPlan()
        # Planned again after a binding: it failed, or the server now refuses a second one. Either way it may be tried.
        self._placed.pop(pod["metadata"]["uid"], None)
        decided = plan(pod, [self._candidate(node) for node in self._nodes.items.values()], now)
        bound = next((action for action in decided.actions if isinstance(action, Bind)), None)
        if bound is None:
            self._waiting.add(key)
        else:
            self._placed[pod["metadata"]["uid"]] = (bound.node, pod)
        return decided

    def _candidate(self, node: Object) -> Candidate:
        name = node["metadata"]["name"]
        there = self._pods.by("node", name)
        seen = {pod["metadata"]["uid"] for pod in there}
        coming = [pod for uid, (where, pod) in self._placed.items() if where == name and uid not in seen]
        return Candidate(node, added(requested(pod) for pod in (*there, *coming)))


def _is_ours(pod: Object) -> bool:
    ours = pod["spec"].get("schedulerName", DEFAULT_SCHEDULER) == DEFAULT_SCHEDULER
    gated = bool(pod["spec"].get("schedulingGates"))
    return ours and not gated and not pod["spec"].get("nodeName") and not deleting(pod) and not is_finished(pod)


def _admits(node: Object) -> tuple[object, ...]:
    """What of a node decides whether pods go there; heartbeats do not."""
    status = node.get("status") or {}
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions") or []}
    return node.get("spec"), node["metadata"].get("labels"), status.get("allocatable"), conditions
