"""What is written of a ModelDeployment's plan, in order. Pure.

The children first, then what the status says of them. What is refused keeps nothing from being done that does not need
it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from millrace_core.api import conditions
from millrace_core.api.group import COMMAND_ANNOTATION, GROUP
from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube.events import Emit
from millrace_kube.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    JOBS,
    PODS,
    Object,
    annotations_of,
    name_of,
    namespace_of,
    resource_of,
)
from millrace_kube.writes import AddFinalizer, Apply, Delete, InOrder, RemoveFinalizer, Write, WriteStatus
from millrace_operators.modeldeployment import blue_green, desired, scaler
from millrace_operators.modeldeployment.blue_green import RolloutReport
from millrace_operators.modeldeployment.gate_conditions import LET_THROUGH
from millrace_operators.modeldeployment.gate_job import UnknownChampion, gate_job
from millrace_operators.modeldeployment.gates import SKIPPED, GateDecision
from millrace_operators.modeldeployment.observe import DeploymentObservation
from millrace_operators.modeldeployment.plan import RolloutPlan
from millrace_operators.modeldeployment.revisions import superfluous
from millrace_operators.modeldeployment.status import MODEL_REPLACED, rejected, status
from millrace_operators.platform import Platform

FINALIZER: Final = f"{GROUP}/route"


def writes(
    platform: Platform,
    observed: DeploymentObservation,
    planned: RolloutPlan,
    gated: GateDecision,
    *,
    accepted: bool,
) -> list[Write]:
    """The finalizer, the children, and which pods are replaced.

    Without acceptance no new revision is made, and what exists is kept true.
    """
    made = accepted or observed.target.name in observed.deployments
    return [
        AddFinalizer(observed.document, FINALIZER),
        *(InOrder(tuple(_revision(observed, planned, name, accepted=accepted))) for name in _kept(planned)),
        *_judging(platform, observed, gated, accepted=accepted),
        *(Apply(child) for child in _shared_children(observed, made=made)),
        InOrder(tuple(_scaler(platform, observed, planned, made=made))),
        *_replaced_pods(observed),  # before they are gone, and with them what there is to tell
        *_gone(observed, planned),
    ]


def report(
    observed: DeploymentObservation,
    planned: RolloutPlan,
    gated: GateDecision,
    rollout: RolloutReport | None,
    problem: MillraceError | None,
    now: datetime,
) -> list[Write]:
    """The status, and the Events of what it holds.

    Args:
        rollout: what becomes of a BlueGreen rollout; None: the strategy is another one.
        problem: what speaks against the spec, else the first refusal of a child.
    """
    written = status(observed, planned, gated, rollout, problem, now)
    told = [*_of_the_status(observed, planned, gated), *_of_the_rollout(observed, planned, rollout)]
    return [WriteStatus(observed.document, written, events=tuple(told))]


def unaccepted(document: Object, error: RejectError, now: datetime) -> list[Write]:
    """Of one whose spec cannot be read."""
    return [AddFinalizer(document, FINALIZER), WriteStatus(document, rejected(document, error, now))]


def leaving(document: Object, held: str, now: datetime, *, experiment: bool) -> list[Write]:
    """Of one that is being deleted: it goes once no traffic needs it; its children follow it by their owner references.

    Args:
        held: what still leads to it; empty: nothing.
        experiment: whether that is an Experiment, which only a person ends.
    """
    if FINALIZER not in (document["metadata"].get("finalizers") or []):
        return []
    if not held:
        return [RemoveFinalizer(document, FINALIZER)]
    before, generation = document.get("status") or {}, document["metadata"]["generation"]
    kept = [item for item in before.get("conditions") or () if item["type"] != conditions.READY]
    current = [*kept, conditions.condition(conditions.READY, False, conditions.DELETING, held)]
    settled = conditions.settle(before.get("conditions"), current, generation=generation, now=now)
    return [WriteStatus(document, {**before, "conditions": settled}, reported=None if experiment else ())]


def _kept(planned: RolloutPlan) -> tuple[str, ...]:
    """The revisions that something is kept of: those with pods, and the target even while its gates hold it."""
    return tuple(dict.fromkeys((*planned.replicas, planned.target)))


def _judging(
    platform: Platform, observed: DeploymentObservation, gated: GateDecision, *, accepted: bool
) -> list[Apply | Delete]:
    """The Job that judges, which is made once and left as it is, and those that judge nothing any more."""
    namespace = namespace_of(observed.document)
    there = {name_of(job): job for job, _ in observed.gate_jobs}
    gone = [
        Delete(JOBS, namespace, name, there[name]["metadata"]["uid"]) for name in gated.superfluous if name in there
    ]
    gates = observed.spec.gates
    if not gated.start or gated.start in there or gates is None or not (accepted or observed.made):
        return list(gone)
    other = observed.other_model
    if isinstance(other, UnknownChampion):
        return list(gone)
    return [*gone, Apply(gate_job(observed.document, observed.spec, observed.target, gated.start, platform, other))]


def _revision(
    observed: DeploymentObservation, planned: RolloutPlan, name: str, *, accepted: bool
) -> list[Apply | Delete]:
    """What a revision needs: each is made only where those before it are there."""
    record = observed.record(name) or (observed.target if accepted and name == observed.target.name else None)
    if record is None:
        return []
    owner, pin, held = observed.document, observed.pins.get(name), observed.config_maps.get(name)
    children: list[Apply | Delete] = [Apply(desired.controller_revision(owner, record))]
    if name not in planned.replicas:
        return children
    if pin is not None and not pin.stated:
        wanted = desired.pinned_model(owner, record, pin.model)
        if held is not None and held.get("data") != wanted["data"]:  # it is immutable
            children.append(Delete(CONFIG_MAPS, namespace_of(held), name_of(held)))
        children.append(Apply(wanted))
    if accepted or name in observed.deployments:
        children.append(Apply(desired.deployment(owner, record, replicas=planned.replicas[name])))
    return children


def _shared_children(observed: DeploymentObservation, *, made: bool) -> list[Object]:
    """The children that all revisions share."""
    if not made:
        return []
    budget = desired.disruption_budget(observed.document, observed.spec)
    return [budget, *([desired.service_monitor(observed.document, observed.spec)] if observed.monitors else [])]


def _scaler(
    platform: Platform, observed: DeploymentObservation, planned: RolloutPlan, *, made: bool
) -> list[Apply | Delete]:
    """The scaler. One of the other kind goes before it is made, by turns: two would pull at one number."""
    # Not while a first pod is alone on purpose: a scaler would give it company at once.
    ready = observed.target.name in observed.pins and observed.target.name in planned.replicas and made
    scaled = planned.active or (observed.target.name if ready else "")
    found = observed.scalers
    wanted = (
        scaler.scaler(observed.document, observed.spec, scaled, platform.prometheus_url, keda=found.keda)
        if scaled
        else None
    )
    others = [held for held in found.own if wanted is None or held["kind"] != wanted["kind"]]
    going = [*others, *found.left]
    if going:
        return [Delete(resource_of(held), namespace_of(held), name_of(held)) for held in going]
    return [Apply(wanted)] if wanted else []


def _gone(observed: DeploymentObservation, planned: RolloutPlan) -> list[Delete]:
    """Revisions that nobody needs, and pods that hold another model than their revision serves."""
    namespace = namespace_of(observed.document)
    used = {planned.target, planned.active, *observed.deployments}
    old = superfluous(observed.records, used)
    known = {item.name for item in observed.records} - {*old}
    return [
        *(Delete(DEPLOYMENTS, namespace, revision) for revision in planned.delete),
        *(Delete(CONTROLLER_REVISIONS, namespace, revision) for revision in old),
        *(Delete(CONFIG_MAPS, namespace, revision) for revision in observed.config_maps.keys() - known - used),
        *(Delete(PODS, namespace, pod.pod, pod.uid) for pin in observed.pins.values() for pod in pin.strangers),
    ]


def _replaced_pods(observed: DeploymentObservation) -> list[Emit]:
    return [
        Emit(
            observed.document,
            "Warning",
            MODEL_REPLACED,
            f"the pod {pod.pod} measured {pod.model.digest}, the revision {revision} serves {pin.model.digest}: "
            "the pod is replaced",
            identity=["replaced", pod.uid],
        )
        for revision, pin in observed.pins.items()
        for pod in pin.strangers
    ]


def _of_the_rollout(observed: DeploymentObservation, planned: RolloutPlan, rollout: RolloutReport | None) -> list[Emit]:
    """Each phase that it comes to, but the first, and the one of which the condition Ready tells."""
    before = (observed.status.get("rollout") or {}).get("phase")
    silent = (before, blue_green.STARTING, blue_green.ROLLED_BACK)
    if rollout is None or rollout.phase in silent:
        return []
    if rollout.phase == blue_green.COMPLETE and before != blue_green.KEEPING_PREVIOUS:
        return []
    identity = [rollout.phase, planned.target, planned.active, observed.status.get("handledCommand")]
    return [Emit(observed.document, "Normal", rollout.phase, rollout.message, identity=identity)]


def _of_the_status(observed: DeploymentObservation, planned: RolloutPlan, gated: GateDecision) -> list[Emit]:
    """Events of what the status now holds, beside those of conditions."""
    document, told = observed.document, []
    if (refusal := observed.request.refusal) is not None:
        text = annotations_of(document).get(COMMAND_ANNOTATION, "")
        note = f"command refused: {refusal}"
        told.append(Emit(document, "Warning", refusal.reason, note, identity=["command", text]))
    if gated.record is not None and gated.record["verdict"] == SKIPPED:
        note, identity = str(gated.record["message"]), ["skipped", gated.record["command"], gated.record["revision"]]
        told.append(Emit(document, "Warning", LET_THROUGH, note, identity=identity))
    if planned.switched:
        note = f"{planned.active} is ready and serves"
        identity = ["active", planned.active, document["metadata"]["generation"]]
        told.append(Emit(document, "Normal", "RevisionActive", note, identity=identity))
    return told
