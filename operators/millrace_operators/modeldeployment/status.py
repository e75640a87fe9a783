"""A ModelDeployment's status: what was observed, in conditions and figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.modeldeployment import service_name
from millrace_core.base.errors import RejectError
from millrace_core.identity.model_version import model_version
from millrace_kube.resources import Object, namespace_of
from millrace_operators.modeldeployment import device, pods, scaler
from millrace_operators.modeldeployment.observe import Observed
from millrace_operators.modeldeployment.plan import Plan, Revision
from millrace_operators.modeldeployment.pods import Failure, Fetched

RESOLVED: Final = "Resolved"
FETCHING: Final = "Fetching"
DIGESTS_DIFFER: Final = "DigestsDiffer"
SERVING: Final = "Serving"
STARTING: Final = "Starting"
NO_READY_PODS: Final = "NoReadyPods"
ROLLING_OUT: Final = "RollingOut"
BELOW_MINIMUM: Final = "FewerPodsThanMinimum"


@dataclass(frozen=True)
class Progress:
    """What the pods of the wanted and of the serving revision say."""

    wanted: Revision | None
    serving: Revision | None
    found: frozenset[Fetched]
    failure: Failure | None

    @property
    def switching(self) -> bool:
        """Whether another revision than the wanted one serves."""
        return self.serving is not None and self.serving != self.wanted


def status(seen: Observed, plan: Plan, problem: RejectError | None, now: datetime) -> dict[str, Any]:
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


def _progress(seen: Observed, plan: Plan) -> Progress:
    revisions = {revision.name: revision for revision in seen.revisions}
    of_target = seen.pods.get(plan.target, ())
    return Progress(
        wanted=revisions.get(plan.target),
        serving=revisions.get(plan.active),
        found=frozenset(pods.fetched(of_target)),
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
    return [*shown, conditions.summary([*shown, *_rollout(seen, progress)])]


def _model_resolved(seen: Observed, progress: Progress) -> ConditionDict:
    if progress.failure is not None and progress.failure.fetching:
        return condition(conditions.MODEL_RESOLVED, False, progress.failure.reason, progress.failure.message)
    if len(progress.found) > 1:
        digests = ", ".join(sorted(item.digest for item in progress.found))
        message = (
            f"pods hold different files ({digests}): the one at {seen.spec.model.uri} was replaced; give each "
            "version a URI of its own, or set spec.model.digest"
        )
        return condition(conditions.MODEL_RESOLVED, False, DIGESTS_DIFFER, message)
    known = (seen.status.get("model") or {}).get("digest") if progress.wanted == progress.serving else None
    digest = next((item.digest for item in progress.found), known)
    if digest:
        return condition(conditions.MODEL_RESOLVED, True, RESOLVED, f"{seen.spec.model.uri} is {digest}")
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
    if seen.device == device.CPU and seen.spec.inference.device == "auto":
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


def _model(seen: Observed, active: str) -> dict[str, Any] | None:
    """The model that the active revision serves; None until one of its pods has measured it."""
    measured = min(pods.fetched(seen.pods.get(active, ())), default=None)
    if measured is not None:
        version = model_version(measured.digest)
        return {"version": version, "digest": measured.digest, "bytes": measured.bytes}
    return seen.status.get("model") if active == seen.recorded else None


def _of_deployment(deployment: Object | None) -> Failure | None:
    """What the Deployment itself says went wrong: pods that cannot be made, or that do not get ready in time."""
    found = ((deployment or {}).get("status") or {}).get("conditions") or []
    return _first(found, "ReplicaFailure", "True") or _first(found, "Progressing", "False")


def _first(found: Iterable[dict[str, Any]] | Sequence[dict[str, Any]], kind: str, value: str) -> Failure | None:
    item = next((item for item in found if item["type"] == kind and item["status"] == value), None)
    return Failure(item.get("reason") or kind, item.get("message") or kind) if item else None
