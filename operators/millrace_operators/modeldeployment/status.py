"""A ModelDeployment's status: what was observed, in conditions and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from millrace_core.api import conditions, names
from millrace_core.api.command import recorded
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.api.modeldeployment import service_name
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.identity.model_version import model_version
from millrace_kube.resources import Object, annotations_of, namespace_of
from millrace_operators.compute import memory_limits
from millrace_operators.modeldeployment import blue_green, device, pods, scalers
from millrace_operators.modeldeployment.blue_green import RolloutReport
from millrace_operators.modeldeployment.command import PROMOTE, RESTART, ROLLBACK, RUN_GATES, SKIP_GATES
from millrace_operators.modeldeployment.gate_conditions import gates_passed
from millrace_operators.modeldeployment.gates import GateDecision
from millrace_operators.modeldeployment.observe import DeploymentObservation
from millrace_operators.modeldeployment.pins import Pin, digests
from millrace_operators.modeldeployment.plan import Revision, RolloutPlan
from millrace_operators.modeldeployment.pods import Failure

RESOLVED: Final = "Resolved"
FETCHING: Final = "Fetching"
NOT_ACCEPTED: Final = "NotAccepted"
MODEL_REPLACED: Final = "ModelReplaced"
SERVING: Final = "Serving"
STARTING: Final = "Starting"
NO_READY_PODS: Final = "NoReadyPods"
ROLLING_OUT: Final = "RollingOut"
HELD: Final = "HeldByGates"
BELOW_MINIMUM: Final = "FewerPodsThanMinimum"
CURRENT: Final = "Current"
OLDER_TEMPLATE: Final = "OlderTemplate"
_HOW_FAR: Final = "; their /v2/health/ready says which step of it"
# As many differences as a message shows.
_SHOWN: Final = 3
REPLACED_HINT: Final = (
    "Give each version a URI of its own; to serve the new file, set spec.model.uri or spec.model.digest, or the "
    f'annotation {COMMAND_ANNOTATION}="<id>:restart"'
)


_RESULTS: Final = {
    RESTART: "the revision {} was made",
    RUN_GATES: "the revision {} is judged again",
    SKIP_GATES: "the revision {} is let through its gates",
}
# Phases of a rollout whose revision is not held up by anything but the rollout itself.
_WAITING: Final = (blue_green.PREVIEWING, blue_green.AWAITING_PROMOTION, blue_green.ROLLED_BACK)


@dataclass(frozen=True)
class RolloutState:
    """What the pods of the wanted and of the serving revision say."""

    wanted: Revision | None
    serving: Revision | None
    pin: Pin | None
    failure: Failure | None
    gated: GateDecision = field(default_factory=GateDecision)
    rollout: RolloutReport | None = None

    @property
    def waiting(self) -> RolloutReport | None:
        """The rollout, where it is that alone which keeps the wanted revision from serving."""
        return self.rollout if self.rollout is not None and self.rollout.phase in _WAITING else None

    @property
    def held(self) -> bool:
        """Whether gates keep the wanted revision from coming up."""
        return not self.gated.opens and self.wanted is None

    @property
    def switching(self) -> bool:
        """Whether another revision than the wanted one serves."""
        return self.serving is not None and self.serving != self.wanted


def status(
    observed: DeploymentObservation,
    plan: RolloutPlan,
    gated: GateDecision,
    rollout: RolloutReport | None,
    problem: MillraceError | None,
    now: datetime,
) -> dict[str, Any]:
    """The whole status.

    Args:
        gated: what becomes of the gates.
        rollout: what becomes of a BlueGreen rollout; None: the strategy is another one.
        problem: why the spec, or a child made from it, is not accepted; None: it is.
    """
    state = _state(observed, plan, gated, rollout)
    shown = state.serving or state.wanted
    observations = _conditions(observed, state, problem)
    generation = observed.document["metadata"]["generation"]
    return {
        "observedGeneration": generation,
        "model": _model(observed, plan.active),
        "revision": plan.active or None,
        "targetRevision": plan.target,
        "champion": observed.champion,
        "url": f"http://{service_name(observed.name, observed.spec)}.{namespace_of(observed.document)}.svc",
        "replicas": {"ready": shown.ready, "desired": shown.replicas} if shown else None,
        "selector": f"{names.DEPLOYMENT}={observed.name},{names.REVISION}={shown.name}" if shown else None,
        "device": shown.device if shown else None,
        "gates": gated.record,
        "rollout": rollout.document() if rollout else None,
        **_commands(observed, rollout, made=observed.made or problem is None),
        "conditions": conditions.settle(
            observed.status.get("conditions"), observations, generation=generation, now=now
        ),
    }


def rejected(document: Object, error: RejectError, now: datetime) -> dict[str, Any]:
    """The status of an object whose stored spec cannot be read; what was observed before stays."""
    before, generation = document.get("status") or {}, document["metadata"]["generation"]
    refused = conditions.rejected(conditions.ACCEPTED, error)
    kept = [
        item for item in before.get("conditions") or () if item["type"] not in (conditions.ACCEPTED, conditions.READY)
    ]
    observations = [refused, *kept, conditions.summary([refused])]
    settled = conditions.settle(before.get("conditions"), observations, generation=generation, now=now)
    return {**before, "observedGeneration": generation, "conditions": settled}


def _state(
    observed: DeploymentObservation, plan: RolloutPlan, gated: GateDecision, rollout: RolloutReport | None
) -> RolloutState:
    revisions = {revision.name: revision for revision in observed.revisions}
    of_target = observed.pods.get(plan.target, ())
    deployment = observed.deployments.get(plan.target)
    return RolloutState(
        wanted=revisions.get(plan.target),
        serving=revisions.get(plan.active),
        pin=observed.pins.get(plan.target),
        failure=pods.failure(of_target, memory_limits(deployment)) or _of_deployment(deployment),
        gated=gated,
        rollout=rollout,
    )


def _conditions(
    observed: DeploymentObservation, state: RolloutState, problem: MillraceError | None
) -> list[ConditionDict]:
    if problem is None:
        accepted = condition(
            conditions.ACCEPTED, True, conditions.VALID, "the spec is valid and everything it names exists"
        )
    else:
        accepted = conditions.rejected(conditions.ACCEPTED, problem)
    unmade = problem is not None and state.wanted is None  # and so nothing is judged
    gates = [] if unmade else gates_passed(state.gated, state.serving.name if state.serving else "")
    shown = [
        accepted,
        _model_resolved(observed, state, refused=problem is not None),
        *gates,
        _available(observed, state, refused=problem is not None),
        scalers.ready(observed.spec, observed.scalers, device=observed.target.device, cpu_requested=_cpu(observed)),
    ]
    # Gates first: a model that they hold is not fetched by pods, and has none.
    summary = conditions.summary([accepted, *gates, *shown, *_rollout(observed, state)])
    return [*shown, _template_current(observed), summary]


def _model_resolved(observed: DeploymentObservation, state: RolloutState, *, refused: bool) -> ConditionDict:
    if state.failure is not None and state.failure.fetching:
        return condition(conditions.MODEL_RESOLVED, False, state.failure.reason, state.failure.message)
    pin = state.pin
    if pin is not None and pin.strangers:
        message = (
            f"the revision serves {pin.model.digest}, and {len(pin.strangers)} of its pods found "
            f"{digests(pin.strangers)}: the file at {observed.spec.model.uri} was replaced. {REPLACED_HINT}"
        )
        return condition(conditions.MODEL_RESOLVED, False, MODEL_REPLACED, message)
    if pin is not None:
        message = f"{observed.spec.model.uri} is {pin.model.digest}"
        return condition(conditions.MODEL_RESOLVED, True, RESOLVED, message)
    if refused and state.wanted is None:
        message = f"{observed.spec.model.uri} is not fetched while Accepted is False"
        return condition(conditions.MODEL_RESOLVED, None, NOT_ACCEPTED, message)
    if judged := (state.gated.record or {}).get("digest"):
        return condition(conditions.MODEL_RESOLVED, True, RESOLVED, f"{observed.spec.model.uri} is {judged}")
    how = "fetched by the Job of the gates first" if state.held else "being fetched"
    return condition(conditions.MODEL_RESOLVED, None, FETCHING, f"{observed.spec.model.uri} is {how}")


def _available(observed: DeploymentObservation, state: RolloutState, *, refused: bool) -> ConditionDict:
    serving, where = state.serving, _where(observed)
    if serving is not None and serving.ready > 0:
        message = f"{serving.ready} of {serving.replicas} pods of {serving.name} serve{where}"
        memory = memory_limits(observed.deployments.get(serving.name))
        if crashes := pods.crashes(observed.pods.get(serving.name, ()), memory):
            message += f"; {crashes}"
        if state.switching:
            message += f"; the revision that the spec asks for {_waits(state, refused=refused)}"
        return condition(conditions.AVAILABLE, True, SERVING, message)
    if state.failure is not None:
        return condition(conditions.AVAILABLE, False, state.failure.reason, state.failure.message)
    if serving is not None:
        return condition(conditions.AVAILABLE, False, NO_READY_PODS, f"no pod of {serving.name} is ready")
    if refused and state.wanted is None:
        return condition(conditions.AVAILABLE, False, NOT_ACCEPTED, "no pods are made while Accepted is False")
    if state.held:
        return condition(conditions.AVAILABLE, None, HELD, "no pods are made before the gates are passed")
    doing = pods.starting(observed.pods.get(observed.target.name, ()))
    message = f"pods are starting: {doing}{_HOW_FAR}" if doing else "pods are starting"
    return condition(conditions.AVAILABLE, None, STARTING, message)


def _waits(state: RolloutState, *, refused: bool) -> str:
    """What keeps the wanted revision from serving."""
    if refused and state.wanted is None:
        return "is not made while Accepted is False"
    if state.held:
        return "is held by its gates"
    return "does not have the traffic" if state.waiting else "is not ready yet"


def _where(observed: DeploymentObservation) -> str:
    if observed.target.device == device.CPU and observed.spec.inference.device == "auto":
        return f" on CPUs, since no node offers {observed.spec.inference.gpu.resource}"
    return ""


def _cpu(observed: DeploymentObservation) -> bool:
    """Whether the target's pods request CPU, in the spec's words or the platform's."""
    containers = observed.target.template["spec"]["containers"]
    return all("cpu" in ((item.get("resources") or {}).get("requests") or {}) for item in containers)


def _rollout(observed: DeploymentObservation, state: RolloutState) -> list[ConditionDict]:
    """What stands between availability and all that the spec asks for; it has no condition of its own."""
    if state.switching and (waiting := state.waiting) is not None:
        holds = False if waiting.phase == blue_green.ROLLED_BACK else None
        return [condition(ROLLING_OUT, holds, waiting.phase, waiting.message)]
    if state.switching:
        if state.failure is not None:
            return [condition(ROLLING_OUT, False, state.failure.reason, state.failure.message)]
        if state.held:
            return [condition(ROLLING_OUT, None, HELD, "the gates hold the new revision; the old one serves")]
        return [condition(ROLLING_OUT, None, ROLLING_OUT, "the new revision is not ready yet; the old one serves")]
    if state.serving is not None and state.serving.ready < observed.spec.bounds.min:
        message = f"{state.serving.ready} pods are ready, {observed.spec.bounds.min} is the minimum"
        return [condition(ROLLING_OUT, None, BELOW_MINIMUM, message)]
    return []


def _template_current(observed: DeploymentObservation) -> ConditionDict:
    """Whether the target's pods are what this release makes of the spec; it is no part of Ready, as they serve on."""
    if not observed.outdated:
        message = "the pods are what this release of Millrace makes of the spec"
        return condition(conditions.TEMPLATE_CURRENT, True, CURRENT, message)
    shown = ", ".join(observed.outdated[:_SHOWN]) + (" and more" if len(observed.outdated) > _SHOWN else "")
    message = (
        f"the pods of {observed.target.name} are as an earlier release or other settings made them; {shown} would "
        f'differ now. They go on so. The annotation {COMMAND_ANNOTATION}="<id>:restart" replaces them, without a gap'
    )
    return condition(conditions.TEMPLATE_CURRENT, False, OLDER_TEMPLATE, message)


def _commands(observed: DeploymentObservation, rollout: RolloutReport | None, *, made: bool) -> dict[str, Any]:
    """The last handled command; ``made`` says whether the target is kept now."""
    request = observed.request
    if request.refusal is not None:
        text = annotations_of(observed.document).get(COMMAND_ANNOTATION, "")
        return {"handledCommand": recorded(text), "commandResult": str(request.refusal)}
    if request.verb in (PROMOTE, ROLLBACK) and rollout is not None:
        return {"handledCommand": request.text, "commandResult": rollout.result}
    if request.text and made:
        return {"handledCommand": request.text, "commandResult": _RESULTS[request.verb].format(observed.target.name)}
    return {key: observed.status.get(key) for key in ("handledCommand", "commandResult")}


def _model(observed: DeploymentObservation, active: str) -> dict[str, Any] | None:
    """The model that the active revision serves."""
    found = observed.pins.get(active)
    if found is None:
        return None
    use = pods.cache_use(observed.pods.get(active, ()))
    return {
        "version": model_version(found.model.digest),
        "digest": found.model.digest,
        "bytes": found.model.bytes,
        **({"cached": use._asdict()} if use else {}),  # a null here would be written anew at every turn
    }


def _of_deployment(deployment: Object | None) -> Failure | None:
    """What the Deployment itself says went wrong: pods that cannot be made, or that do not get ready in time."""
    found = ((deployment or {}).get("status") or {}).get("conditions") or []
    return _first(found, "ReplicaFailure", "True") or _first(found, "Progressing", "False")


def _first(found: Iterable[dict[str, Any]] | Sequence[dict[str, Any]], kind: str, value: str) -> Failure | None:
    item = next((item for item in found if item["type"] == kind and item["status"] == value), None)
    return Failure(item.get("reason") or kind, item.get("message") or kind) if item else None
