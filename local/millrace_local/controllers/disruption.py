"""PodDisruptionBudgets: how many pods may be evicted right now."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from millrace_kube.conditions import with_condition
from millrace_kube.informer import Informers
from millrace_kube.owners import controller_of
from millrace_kube.resources import POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, Object, deleting, key_of
from millrace_kube.selectors import matches
from millrace_local.controllers.actions import ActionPlan, Change
from millrace_local.controllers.pods import is_active, is_finished, is_ready


def plan(budget: Object, pods: Sequence[Object], replicas: Mapping[str, int], now: datetime) -> ActionPlan:
    """Writes the budget's status.

    Args:
        budget: the PodDisruptionBudget.
        pods: the pods of its namespace.
        replicas: ``spec.replicas`` of the ReplicaSets there, by uid: the pods that there should be.
        now: the present time.
    """
    if deleting(budget):
        return ActionPlan()
    chosen = [
        pod
        for pod in pods
        if matches(budget["spec"].get("selector"), pod["metadata"].get("labels") or {}) and not is_finished(pod)
    ]
    healthy = sum(is_ready(pod) and is_active(pod) for pod in chosen)
    expected, desired = _wanted(budget["spec"], chosen, replicas)
    allowed = max(0, healthy - desired) if expected else 0
    reason = "SufficientPods" if allowed else "InsufficientPods"
    before = budget.get("status") or {}
    status = {
        **before,
        "observedGeneration": budget["metadata"].get("generation", 0),
        "expectedPods": expected,
        "desiredHealthy": desired,
        "currentHealthy": healthy,
        "disruptionsAllowed": allowed,
        "conditions": with_condition(before.get("conditions"), "DisruptionAllowed", allowed > 0, reason, "", now=now),
    }
    return ActionPlan((Change(POD_DISRUPTION_BUDGETS, budget, {**budget, "status": status}, "status"),))


def _wanted(spec: Object, chosen: Sequence[Object], replicas: Mapping[str, int]) -> tuple[int, int]:
    """(pods expected, pods that must be healthy). Percentages and ``maxUnavailable`` count what the owners want."""
    owners = {owner["uid"] for pod in chosen if (owner := controller_of(pod))}
    unowned = sum(controller_of(pod) is None for pod in chosen)
    scale = sum(replicas.get(uid, 0) for uid in owners) + unowned
    if spec.get("maxUnavailable") is not None:
        return scale, max(0, scale - _share(spec["maxUnavailable"], scale))
    minimum = spec.get("minAvailable", 1)
    if isinstance(minimum, int):
        return len(chosen), minimum
    return scale, _share(minimum, scale)


def _share(value: int | str, total: int) -> int:
    """A number or a percentage of ``total``, rounded up as Kubernetes does for both bounds."""
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * total / 100)
    return int(value)


class DisruptionController:
    """Keeps the status of PodDisruptionBudgets."""

    name = "disruption"
    workers = 1

    def wire(self, informers: Informers, touch: Callable[[str], None]) -> None:
        """A budget is planned when it, or a pod that it selects (or did), changes."""
        self._budgets = informers.of(POD_DISRUPTION_BUDGETS)
        self._pods = informers.of(PODS)
        self._sets = informers.of(REPLICA_SETS)

        def of_pod(old: Object | None, new: Object | None) -> None:
            for key, budget in self._budgets.items.items():
                for pod in (old, new):
                    labels = pod["metadata"].get("labels") or {} if pod else {}
                    if (
                        pod
                        and pod["metadata"]["namespace"] == budget["metadata"]["namespace"]
                        and matches(budget["spec"].get("selector"), labels)
                    ):
                        touch(key)

        self._budgets.subscribe(lambda _old, new: touch(key_of(new)) if new else None)
        self._pods.subscribe(of_pod)

    def plan(self, key: str, now: datetime) -> ActionPlan:
        """The status of the budget."""
        budget = self._budgets.items.get(key)
        if budget is None:
            return ActionPlan()
        prefix = f"{budget['metadata']['namespace']}/"
        pods = [pod for name, pod in self._pods.items.items() if name.startswith(prefix)]
        sets = [item for name, item in self._sets.items.items() if name.startswith(prefix)]
        return plan(budget, pods, {i["metadata"]["uid"]: i["spec"].get("replicas", 1) for i in sets}, now)
