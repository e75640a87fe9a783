"""What a Deployment needs next: one step of its rollout, its status, and the end of old revisions."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from millrace_kube.resources import DEPLOYMENTS, REPLICA_SETS, Object, deleting
from millrace_local.controllers.actions import Action, ActionPlan, Change, Create, Delete, EmitEvent
from millrace_local.controllers.deployment import revisions
from millrace_local.controllers.deployment.rolling import Bounds, Size, bounds, grown, proportional, shrunk
from millrace_local.controllers.deployment.status import is_complete, seconds_left, status


@dataclass(frozen=True)
class Observed:
    """A Deployment and what there is of it.

    Attributes:
        deployment: the Deployment.
        sets: the ReplicaSets it controls.
        pods: how many pods each ReplicaSet still has that have not ended, by ReplicaSet uid (terminating ones too).
        names: names of all ReplicaSets of the namespace, whoever controls them.
    """

    deployment: Object
    sets: Sequence[Object]
    pods: Mapping[str, int]
    names: Collection[str]

    @cached_property
    def new(self) -> Object | None:
        """The ReplicaSet of the present template."""
        return revisions.current(self.deployment, self.sets)

    @cached_property
    def olds(self) -> list[Object]:
        """All others, oldest first."""
        new = self.new
        return [item for item in revisions.by_age(self.sets) if item is not new]

    @cached_property
    def limits(self) -> Bounds:
        """How far the rollout may go."""
        spec = self.deployment["spec"]
        return bounds(spec.get("strategy") or {}, spec.get("replicas", 1))


def plan(observed: Observed, now: datetime) -> ActionPlan:
    """The next step. Every step is taken from what is there, so it may be taken again after any interruption."""
    deployment = observed.deployment
    if deleting(deployment):
        return ActionPlan()
    spec = deployment["spec"]
    actions: list[Action] = []
    created = ""
    if _resized(observed) or spec.get("paused"):
        actions += _resize(observed)
    elif observed.new is None:
        step = _introduce(observed)
        created = step[0].body["metadata"]["name"] if isinstance(step[0], Create) else ""
        actions += step
    elif (spec.get("strategy") or {}).get("type") == "Recreate":
        actions += _recreate(observed)
    else:
        actions += _roll(observed)
    if any(isinstance(action, Change) and action.resource is DEPLOYMENTS for action in actions):
        # The Deployment itself changes, so its status is written by the plan that follows from that.
        return ActionPlan(tuple(actions))
    fresh = status(deployment, observed.new, observed.sets, observed.limits, created=created, now=now)
    if not actions and is_complete(deployment, fresh):
        actions += [Delete(REPLICA_SETS, item) for item in revisions.superfluous(deployment, observed.olds)]
    actions.append(Change(DEPLOYMENTS, deployment, {**deployment, "status": fresh}, "status"))
    left = seconds_left(deployment, fresh["conditions"], now)
    return ActionPlan(tuple(actions), None if left is None else left + 1)


def _number(observed: Observed) -> int:
    """The revision number of the present template: one more than any old one, or the one it has already."""
    highest_old = max((revisions.revision(item) for item in observed.olds), default=0)
    return max(highest_old + 1, revisions.revision(observed.new) if observed.new else 0)


def _introduce(observed: Observed) -> list[Action]:
    """Creates the ReplicaSet of a new template; under Recreate only once all old pods have ended."""
    deployment, limits = observed.deployment, observed.limits
    if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        if stop := _stop_olds(observed):
            return stop
        replicas = 0 if any(observed.pods.get(i["metadata"]["uid"], 0) for i in observed.olds) else limits.replicas
    else:
        replicas = grown(limits, Size("", 0, 0), [revisions.size_of(item) for item in observed.olds])
    number = _number(observed)
    body = revisions.new_set(deployment, number, replicas, limits)
    if body["metadata"]["name"] in observed.names:
        # Another ReplicaSet has the name (a hash collision): count it, and the next plan hashes differently.
        present = deployment.get("status") or {}
        more = {**present, "collisionCount": present.get("collisionCount", 0) + 1}
        return [Change(DEPLOYMENTS, deployment, {**deployment, "status": more}, "status")]
    return [Create(REPLICA_SETS, body), *_told(deployment, body["metadata"]["name"], 0, replicas)]


def _roll(observed: Observed) -> list[Action]:
    """One step of a rolling update: the new ReplicaSet up as far as it may, else the old ones down."""
    new, limits = observed.new, observed.limits
    if new is None:
        return []
    olds = [revisions.size_of(item) for item in observed.olds]
    size = revisions.size_of(new)
    actions = _advance(observed, new, grown(limits, size, olds))
    if size.desired != grown(limits, size, olds):
        return actions
    smaller = shrunk(limits, size, olds)
    by_name = {item["metadata"]["name"]: item for item in observed.olds}
    for name, replicas in smaller.items():
        actions += _scale(observed.deployment, by_name[name], replicas)
    return actions


def _recreate(observed: Observed) -> list[Action]:
    """All old pods away first, then the new ReplicaSet up in full."""
    if stop := _stop_olds(observed):
        return stop
    if observed.new is None or any(observed.pods.get(item["metadata"]["uid"], 0) for item in observed.olds):
        return []
    return _advance(observed, observed.new, observed.limits.replicas)


def _stop_olds(observed: Observed) -> list[Action]:
    running = [item for item in observed.olds if item["spec"].get("replicas", 1)]
    return [action for item in running for action in _scale(observed.deployment, item, 0)]


def _advance(observed: Observed, new: Object, replicas: int) -> list[Action]:
    """Scales the new ReplicaSet, and keeps its revision, annotations and minReadySeconds current."""
    deployment, number = observed.deployment, _number(observed)
    annotations = revisions.noted(new["metadata"].get("annotations") or {}, deployment, number, observed.limits)
    min_ready = deployment["spec"].get("minReadySeconds", 0)
    changes: Object = {"minReadySeconds": min_ready} if new["spec"].get("minReadySeconds", 0) != min_ready else {}
    return [*_scale(deployment, new, replicas, annotations, changes), *_note(deployment, number)]


def _note(deployment: Object, number: int) -> list[Action]:
    """Notes the revision on the Deployment, where ``kubectl rollout history`` looks for it."""
    if revisions.revision(deployment) == number:
        return []
    metadata = deployment["metadata"]
    annotations = {**(metadata.get("annotations") or {}), revisions.REVISION: str(number)}
    after = {**deployment, "metadata": {**metadata, "annotations": annotations}}
    return [Change(DEPLOYMENTS, deployment, after)]


def _resized(observed: Observed) -> bool:
    """Whether ``spec.replicas`` changed since the ReplicaSets that keep pods were last scaled."""
    wanted = str(observed.limits.replicas)
    return any(
        noted is not None and noted != wanted
        for item in observed.sets
        if item["spec"].get("replicas", 1)
        for noted in [(item["metadata"].get("annotations") or {}).get(revisions.DESIRED)]
    )


def _resize(observed: Observed) -> list[Action]:
    """Follows a change of ``spec.replicas``, in mid-rollout by spreading it over old and new."""
    deployment, limits, new = observed.deployment, observed.limits, observed.new
    newest_first = [*([new] if new else []), *reversed(observed.olds)]
    active = [item for item in newest_first if item["spec"].get("replicas", 1)]
    targets: dict[str, int]
    if len(active) <= 1:
        only = active[0] if active else newest_first[0] if newest_first else None
        targets = {only["metadata"]["name"]: limits.replicas} if only else {}
    elif (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
        targets = {item["metadata"]["name"]: item["spec"].get("replicas", 1) for item in active}
    else:
        targets = proportional(limits, [revisions.size_of(item) for item in active])
    note = revisions.sizes_noted(limits)
    return [
        action
        for item in newest_first
        if item["metadata"]["name"] in targets
        for action in _scale(
            deployment,
            item,
            targets[item["metadata"]["name"]],
            {**(item["metadata"].get("annotations") or {}), **note},
        )
    ]


def _scale(
    deployment: Object,
    item: Object,
    replicas: int,
    annotations: Mapping[str, str] | None = None,
    spec: Object | None = None,
) -> list[Action]:
    metadata, before = item["metadata"], item["spec"].get("replicas", 1)
    noted = metadata.get("annotations") or {}
    after = {
        **item,
        "metadata": {**metadata, "annotations": noted if annotations is None else dict(annotations)},
        "spec": {**item["spec"], "replicas": replicas, **(spec or {})},
    }
    if before == replicas and not spec and after["metadata"]["annotations"] == noted:
        return []
    return [Change(REPLICA_SETS, item, after), *_told(deployment, metadata["name"], before, replicas)]


def _told(deployment: Object, name: str, before: int, after: int) -> list[Action]:
    if before == after:
        return []
    way = "up" if after > before else "down"
    message = f"Scaled {way} replica set {name} from {before} to {after}"
    return [EmitEvent(deployment, "ScalingReplicaSet", message)]
