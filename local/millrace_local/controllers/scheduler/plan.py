"""Where a pod goes: an ordered list of reasons against each node, and the node with the most room among the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from millrace_core.api.conditions import find
from millrace_kube.conditions import with_condition
from millrace_kube.resources import PODS, Object
from millrace_kube.selectors import matches_map, matches_node_terms
from millrace_local.controllers.actions import Action, ActionPlan, Bind, Change, EmitEvent
from millrace_local.controllers.scheduler.resources import Amounts, amounts, lacking, requested


@dataclass(frozen=True)
class Candidate:
    """A node and what its pods take up."""

    node: Object
    used: Amounts

    @property
    def name(self) -> str:
        """The node's name."""
        return str(self.node["metadata"]["name"])

    @property
    def labels(self) -> Mapping[str, str]:
        """The node's labels."""
        return self.node["metadata"].get("labels") or {}


def plan(pod: Object, candidates: Sequence[Candidate], now: datetime) -> ActionPlan:
    """Binds the pod, or says in its PodScheduled find and one event why it cannot be."""
    against = {candidate.name: objections(pod, candidate) for candidate in candidates}
    fitting = [candidate for candidate in candidates if not against[candidate.name]]
    if fitting:
        best = min(fitting, key=lambda candidate: (_load(candidate), candidate.name))
        metadata = pod["metadata"]
        message = f"Successfully assigned {metadata['namespace']}/{metadata['name']} to {best.name}"
        return ActionPlan((Bind(pod, best.name), EmitEvent(pod, "Scheduled", message)))
    return ActionPlan(tuple(_refuse(pod, _message(against), now)))


def _message(against: Mapping[str, Sequence[str]]) -> str:
    if not against:
        return "no nodes available to schedule pods"
    reasons = Counter(reason for found in against.values() for reason in found)
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return f"0/{len(against)} nodes are available: {listed}."


def _refuse(pod: Object, message: str, now: datetime) -> list[Action]:
    status = pod.get("status") or {}
    known = find(status.get("conditions"), "PodScheduled")
    if known and known.get("reason") == "Unschedulable" and known.get("message") == message:
        return []
    conditions = with_condition(status.get("conditions"), "PodScheduled", False, "Unschedulable", message, now=now)
    after = {**pod, "status": {"phase": "Pending", **status, "conditions": conditions}}
    return [Change(PODS, pod, after, "status"), EmitEvent(pod, "FailedScheduling", message, "Warning")]


def _load(candidate: Candidate) -> Fraction:
    """How full the node is: the largest share of cpu or memory in use."""
    room = amounts((candidate.node.get("status") or {}).get("allocatable"))
    return max(
        (candidate.used.get(name, Fraction(0)) / room[name] for name in ("cpu", "memory") if room.get(name)),
        default=Fraction(0),
    )


def objections(pod: Object, candidate: Candidate) -> list[str]:
    """What speaks against the node: the first rule that says anything; all lacking resources at once."""
    return next((found for rule in _RULES if (found := rule(pod, candidate))), [])


def _is_closed(pod: Object, candidate: Candidate) -> list[str]:
    closed = candidate.node["spec"].get("unschedulable") if candidate.node.get("spec") else False
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    return ["node(s) were unschedulable"] if closed and not _tolerated(pod, taint) else []


def _is_not_ready(_pod: Object, candidate: Candidate) -> list[str]:
    ready = find((candidate.node.get("status") or {}).get("conditions"), "Ready")
    return [] if ready and ready.get("status") == "True" else ["node(s) were not ready"]


def _is_tainted(pod: Object, candidate: Candidate) -> list[str]:
    for taint in (candidate.node.get("spec") or {}).get("taints") or []:
        if taint["effect"] in ("NoSchedule", "NoExecute") and not _tolerated(pod, taint):
            return [f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"]
    return []


def _tolerated(pod: Object, taint: Mapping[str, str]) -> bool:
    def tolerates(toleration: Mapping[str, str]) -> bool:
        if toleration.get("effect") and toleration["effect"] != taint["effect"]:
            return False
        if toleration.get("key") and toleration["key"] != taint["key"]:
            return False
        exists = toleration.get("operator", "Equal") == "Exists"
        return exists or (bool(toleration.get("key")) and toleration.get("value", "") == taint.get("value", ""))

    return any(tolerates(toleration) for toleration in pod["spec"].get("tolerations") or [])


def _is_elsewhere(pod: Object, candidate: Candidate) -> list[str]:
    spec = pod["spec"]
    selector = spec.get("nodeSelector")
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    by_map = not selector or matches_map(selector, candidate.labels)
    by_terms = affinity is None or matches_node_terms(affinity["nodeSelectorTerms"], candidate.labels, candidate.name)
    return [] if by_map and by_terms else ["node(s) didn't match Pod's node affinity/selector"]


def _is_full(pod: Object, candidate: Candidate) -> list[str]:
    room = amounts((candidate.node.get("status") or {}).get("allocatable"))
    names = lacking(requested(pod), candidate.used, room)
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in names]


_RULES: tuple[Callable[[Object, Candidate], list[str]], ...] = (
    _is_closed,
    _is_not_ready,
    _is_tainted,
    _is_elsewhere,
    _is_full,
)
