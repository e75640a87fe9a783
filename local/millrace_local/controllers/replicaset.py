"""ReplicaSets: as many pods of one template as spec.replicas says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import islice

from millrace_kube.informer import Informers
from millrace_kube.owners import adoptable, adopted, controller_of, controller_uid, owner_reference, released
from millrace_kube.resources import PODS, REPLICA_SETS, Object, deleting, key_of
from millrace_kube.selectors import matches
from millrace_local.controllers.actions import Action, ActionPlan, Change, Create, Delete, EmitEvent, soonest
from millrace_local.controllers.naming import free_names
from millrace_local.controllers.pods import doomed_first, is_active, is_ready, pod_of, until_available

# Pods made in one plan; the next follows at once.
BURST = 500


def plan(replica_set: Object, pods: Sequence[Object], now: datetime, *, is_taken: Callable[[str], bool]) -> ActionPlan:
    """Creates or deletes pods until as many as spec.replicas says are active, and counts them in the status.

    Args:
        replica_set: the ReplicaSet.
        pods: the pods that it controls.
        now: the present time, for ``minReadySeconds``.
        is_taken: whether a pod of this name exists in the namespace, whoever controls it.
    """
    if deleting(replica_set):
        return ActionPlan()
    selector = replica_set["spec"]["selector"]
    strangers = [pod for pod in pods if not matches(selector, pod["metadata"].get("labels") or {})]
    if strangers:
        # Relabelling a pod takes it out of the set: the way to debug it while another one serves.
        return ActionPlan(tuple(Change(PODS, pod, released(replica_set, pod)) for pod in strangers))
    active = [pod for pod in pods if is_active(pod)]
    missing = replica_set["spec"].get("replicas", 1) - len(active)
    actions = _create(replica_set, missing, is_taken) if missing > 0 else _delete(replica_set, active, -missing)
    min_ready = replica_set["spec"].get("minReadySeconds", 0)
    waits = [until_available(pod, min_ready, now) for pod in active]
    status = {**(replica_set.get("status") or {}), **_counts(replica_set, active, waits)}
    actions.append(Change(REPLICA_SETS, replica_set, {**replica_set, "status": status}, "status"))
    return ActionPlan(tuple(actions), soonest(*(wait for wait in waits if wait)))


def _create(replica_set: Object, count: int, is_taken: Callable[[str], bool]) -> list[Action]:
    metadata = replica_set["metadata"]
    actions: list[Action] = []
    for name in islice(free_names(metadata["name"], metadata["uid"], is_taken), min(count, BURST)):
        body = pod_of(
            replica_set["spec"]["template"],
            name=name,
            namespace=metadata["namespace"],
            owner=owner_reference(replica_set),
        )
        event = EmitEvent(replica_set, "SuccessfulCreate", f"Created pod: {name}")
        actions += [Create(PODS, body), event]
    return actions


def _delete(replica_set: Object, active: Sequence[Object], count: int) -> list[Action]:
    actions: list[Action] = []
    for pod in doomed_first(active)[:count]:
        message = f"Deleted pod: {pod['metadata']['name']}"
        actions += [Delete(PODS, pod), EmitEvent(replica_set, "SuccessfulDelete", message)]
    return actions


def _counts(replica_set: Object, active: Sequence[Object], waits: Sequence[float | None]) -> Object:
    wanted = replica_set["spec"]["template"].get("metadata", {}).get("labels") or {}
    labelled = [pod for pod in active if wanted.items() <= (pod["metadata"].get("labels") or {}).items()]
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": len(labelled),
        "readyReplicas": sum(is_ready(pod) for pod in active),
        "availableReplicas": sum(wait == 0 for wait in waits),
        "observedGeneration": replica_set["metadata"].get("generation", 0),
    }


class ReplicaSetController:
    """Keeps pods as ReplicaSets ask."""

    name = "replicaset"
    workers = 4

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A ReplicaSet is planned when it or one of its pods changes, or a pod appears that it could adopt."""
        self._sets = informers.of(REPLICA_SETS)
        self._pods = informers.of(PODS)
        self._pods.index("controller", controller_uid)
        self._pods.index("orphan", _orphan_namespace)

        def of_pod(old: Object | None, new: Object | None) -> None:
            for pod in (old, new):
                owner = controller_of(pod) if pod else None
                if pod and owner and owner["kind"] == "ReplicaSet":
                    touch(f"{pod['metadata']['namespace']}/{owner['name']}")
            if new and controller_of(new) is None:
                for key, item in self._sets.items.items():
                    if key.startswith(f"{new['metadata']['namespace']}/") and adoptable(item, [new]):
                        touch(key)

        self._sets.subscribe(lambda _old, new: touch(key_of(new)) if new else None)
        self._pods.subscribe(of_pod)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """Adopts the orphans it selects, else makes the counts right."""
        replica_set = self._sets.items.get(key)
        if replica_set is None:
            return ActionPlan()
        orphans = adoptable(replica_set, self._pods.by("orphan", replica_set["metadata"]["namespace"]))
        if living := [pod for pod in orphans if is_active(pod)]:
            return ActionPlan(tuple(Change(PODS, pod, adopted(replica_set, pod)) for pod in living))
        namespace, pods = replica_set["metadata"]["namespace"], self._pods
        own = pods.by("controller", replica_set["metadata"]["uid"])
        return plan(replica_set, own, now, is_taken=lambda name: pods.get(namespace, name) is not None)


def _orphan_namespace(pod: Object) -> list[str]:
    return [] if controller_of(pod) else [pod["metadata"]["namespace"]]
