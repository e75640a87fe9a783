"""A ModelDeployment's status: what was observed, in conditions and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.modeldeployment import service_name
from millrace_core.base.errors import RejectError
from millrace_core.identity.model_version import model_version
from millrace_kube.resources import Object, annotations_of, namespace_of
from millrace_operators.modeldeployment import command as commands
from millrace_operators.modeldeployment import device, pods, scaler
from millrace_operators.modeldeployment.observe import Observed
from millrace_operators.modeldeployment.pins import Pin, digests
from millrace_operators.modeldeployment.plan import Revision, RolloutPlan
from millrace_operators.modeldeployment.pods import Failure

RESOLVED: Final = "Resolved"
FETCHING: Final = "Fetching"
MODEL_REPLACED: Final = "ModelReplaced"
SERVING: Final = "Serving"
STARTING: Final = "Starting"
NO_READY_PODS: Final = "NoReadyPods"
ROLLING_OUT: Final = "RollingOut"
BELOW_MINIMUM: Final = "FewerPodsThanMinimum"
CURRENT: Final = "Current"
OLDER_TEMPLATE: Final = "OlderTemplate"
# As many differences as a message shows.
_SHOWN: Final = 3
REPLACED_HINT: Final = (
    "Give each version a URI of its own; to serve the new file, set spec.model.uri or spec.model.digest, or the "
    f'annotation {COMMAND_ANNOTATION}="<id>:restart"'
)


@dataclass(frozen=True)
class Progress:
    """What the pods of the wanted and of the serving revision say."""

    wanted: Revision | None
    serving: Revision | None
    pin: Pin | None
    failure: Failure | None

    @property
    def switching(self) -> bool:
        """Whether another revision than the wanted one serves."""
        return self.serving is not None and self.serving != self.wanted


def status(seen: Observed, plan: RolloutPlan, problem: RejectError | None, now: datetime) -> dict[str, Any]:
    """The whole status.

    Args:
        problem: why the spec, or a child made from it, is not accepted; None: it is.
    """
    progress = _progress(seen, plan)
    shown = progress.serving or progress.wanted
    observations = _conditions(seen, progress, problem)
    generation = seen.document["metadata"]["generation"]
    return {
        "observedGeneration": generation,
        "model": _model(seen, plan.active),
        "revision": plan.active or None,
        "targetRevision": plan.target,
        "champion": seen.champion,
        "url": f"http://{service_name(seen.name, seen.spec)}.{namespace_of(seen.document)}.svc",
        "replicas": {"ready": shown.ready, "desired": shown.replicas} if shown else None,
        "device": shown.device if shown else None,
        **_commands(seen, made=seen.made or problem is None),
        "conditions": conditions.settle(seen.status.get("conditions"), observations, generation=generation, now=now),
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


def _progress(seen: Observed, plan: RolloutPlan) -> Progress:
    revisions = {revision.name: revision for revision in seen.revisions}
    of_target = seen.pods.get(plan.target, ())
    return Progress(
        wanted=revisions.get(plan.target),
        serving=revisions.get(plan.active),
        pin=seen.pins.get(plan.target),
        failure=pods.failure(of_target) or _of_deployment(seen.deployments.get(plan.target)),
    )


def _conditions(seen: Observed, progress: Progress, problem: RejectError | None) -> list[ConditionDict]:
    if problem is None:
        accepted = condition(
            conditions.ACCEPTED, True, conditions.VALID, "the spec is valid and everything it names exists"
        )
    else:
        accepted = conditions.rejected(conditions.ACCEPTED, problem)
    shown = [
        accepted,
        _model_resolved(seen, progress),
        _available(seen, progress),
        scaler.condition(seen.spec, seen.scaled_object, keda=seen.keda),
    ]
    return [*shown, _template_current(seen), conditions.summary([*shown, *_rollout(seen, progress)])]


def _model_resolved(seen: Observed, progress: Progress) -> ConditionDict:
    if progress.failure is not None and progress.failure.fetching:
        return condition(conditions.MODEL_RESOLVED, False, progress.failure.reason, progress.failure.message)
    pin = progress.pin
    if pin is not None and pin.strangers:
        message = (
            f"the revision serves {pin.model.digest}, and {len(pin.strangers)} of its pods found "
            f"{digests(pin.strangers)}: the file at {seen.spec.model.uri} was replaced. {REPLACED_HINT}"
        )
        return condition(conditions.MODEL_RESOLVED, False, MODEL_REPLACED, message)
    if pin is not None:
        message = f"{seen.spec.model.uri} is {pin.model.digest}"
        return condition(conditions.MODEL_RESOLVED, True, RESOLVED, message)
    return condition(conditions.MODEL_RESOLVED, None, FETCHING, f"{seen.spec.model.uri} is being fetched")


def _available(seen: Observed, progress: Progress) -> ConditionDict:
    serving, where = progress.serving, _where(seen)
    if serving is not None and serving.ready > 0:
        message = f"{serving.ready} of {serving.replicas} pods of {serving.name} serve{where}"
        if progress.switching:
            message += "; the revision that the spec asks for is not ready yet"
        return condition(conditions.AVAILABLE, True, SERVING, message)
    if progress.failure is not None:
        return condition(conditions.AVAILABLE, False, progress.failure.reason, progress.failure.message)
    if serving is not None:
        return condition(conditions.AVAILABLE, False, NO_READY_PODS, f"no pod of {serving.name} is ready")
    return condition(conditions.AVAILABLE, None, STARTING, "pods are starting")


def _where(seen: Observed) -> str:
    if seen.target.device == device.CPU and seen.spec.inference.device == "auto":
        return f" on CPUs, since no node offers {seen.spec.inference.gpu.resource}"
    return ""


def _rollout(seen: Observed, progress: Progress) -> list[ConditionDict]:
    """What stands between availability and all that the spec asks for; it has no condition of its own."""
    if progress.switching:
        if progress.failure is not None:
            return [condition(ROLLING_OUT, False, progress.failure.reason, progress.failure.message)]
        return [condition(ROLLING_OUT, None, ROLLING_OUT, "the new revision is not ready yet; the old one serves")]
    if progress.serving is not None and progress.serving.ready < seen.spec.scaling.min:
        message = f"{progress.serving.ready} pods are ready, {seen.spec.scaling.min} is the minimum"
        return [condition(ROLLING_OUT, None, BELOW_MINIMUM, message)]
    return []


def _template_current(seen: Observed) -> ConditionDict:
    """Whether the target's pods are what this release makes of the spec; it is no part of Ready, as they serve on."""
    if not seen.outdated:
        message = "the pods are what this release of Millrace makes of the spec"
        return condition(conditions.TEMPLATE_CURRENT, True, CURRENT, message)
    shown = ", ".join(seen.outdated[:_SHOWN]) + (" and more" if len(seen.outdated) > _SHOWN else "")
    message = (
        f"the pods of {seen.target.name} are as an earlier release or other settings made them; {shown} would differ "
        f'now. They go on so. The annotation {COMMAND_ANNOTATION}="<id>:restart" replaces them, without a gap'
    )
    return condition(conditions.TEMPLATE_CURRENT, False, OLDER_TEMPLATE, message)


def _commands(seen: Observed, *, made: bool) -> dict[str, Any]:
    """The last handled command; ``made`` says whether the target is kept now."""
    if seen.bad_command is not None:
        text = annotations_of(seen.document).get(COMMAND_ANNOTATION, "")
        return {"handledCommand": commands.identity(text), "commandResult": str(seen.bad_command)}
    if seen.command and made:
        return {"handledCommand": seen.command, "commandResult": f"the revision {seen.target.name} was made"}
    return {key: seen.status.get(key) for key in ("handledCommand", "commandResult")}


def _model(seen: Observed, active: str) -> dict[str, Any] | None:
    """The model that the active revision serves."""
    found = seen.pins.get(active)
    if found is None:
        return None
    return {"version": model_version(found.model.digest), "digest": found.model.digest, "bytes": found.model.bytes}


def _of_deployment(deployment: Object | None) -> Failure | None:
    """What the Deployment itself says went wrong: pods that cannot be made, or that do not get ready in time."""
    found = ((deployment or {}).get("status") or {}).get("conditions") or []
    return _first(found, "ReplicaFailure", "True") or _first(found, "Progressing", "False")


def _first(found: Iterable[dict[str, Any]] | Sequence[dict[str, Any]], kind: str, value: str) -> Failure | None:
    item = next((item for item in found if item["type"] == kind and item["status"] == value), None)
    return Failure(item.get("reason") or kind, item.get("message") or kind) if item else None
