"""An Experiment's conditions: what speaks against it, its arms, its route, its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.experiment import TERMINAL, ExperimentStatus
from millrace_core.base.errors import MillraceError
from millrace_operators.experiment.acceptance import objection, redefined
from millrace_operators.experiment.decision import Decision
from millrace_operators.experiment.health import checks as metric_checks
from millrace_operators.experiment.observation import PENDING, READY, SPLITTING, Observation, Unreadable
from millrace_operators.facts.fact import describe

PROGRAMMED: Final = "Programmed"
SETTLING: Final = "Settling"
HELD: Final = "Held"
NOT_STARTED: Final = "NotStarted"
IN_PROGRESS: Final = "InProgress"
MESH_ABSENT: Final = "MeshAbsent"
NOT_DELEGATED: Final = "NotDelegated"
TARGETS_NOT_READY: Final = "TargetsNotReady"
ARMS_READY: Final = "ArmsReady"
DEPLOYMENT_UNKNOWN: Final = "DeploymentUnknown"
FACTS_MISSING: Final = "FactsMissing"
ALL_KNOWN: Final = "AllKnown"


def rejected(item: Unreadable) -> list[ConditionDict]:
    """Of an Experiment that cannot be read."""
    checks = [conditions.rejected(conditions.ACCEPTED, item.error)]
    if item.routed:
        message = "traffic stays split as it is until the Experiment can be read; its deletion leads it to the champion"
        checks.append(condition(conditions.ROUTE_PROGRAMMED, None, HELD, message))
    return [*checks, conditions.summary(checks)]


def current(
    before: list[ConditionDict] | None,
    decision: Decision,
    refused: MillraceError | None = None,
    undelegated: Sequence[str] = (),
) -> list[ConditionDict]:
    """Of an Experiment that was decided about.

    Args:
        before: the conditions that it has.
        refused: why an object of the route could not be written; None: all were.
        undelegated: the user's own VirtualServices for the host that do not delegate to Millrace's.
    """
    status, observation = decision.status, decision.observation
    if status.phase in TERMINAL:
        return _of_the_end(before, status)
    checks = [
        _accepted(status, observation),
        _targets_ready(status, observation),
        _route(decision, refused, undelegated),
        *_facts_available(before, observation),
        *metric_checks(observation.after(status)),
    ]
    completed = condition(conditions.COMPLETED, None, IN_PROGRESS, f"the phase is {status.phase}")
    return [*checks, completed, conditions.summary(checks, message=f"the phase is {status.phase}")]


def _of_the_end(before: list[ConditionDict] | None, status: ExperimentStatus) -> list[ConditionDict]:
    """What was observed last stays; the object is Ready because nothing is left to be done."""
    why = status.decision.reason if status.decision else "ended"
    kinds = (
        conditions.ACCEPTED,
        conditions.TARGETS_READY,
        conditions.ROUTE_PROGRAMMED,
        conditions.METRICS_AVAILABLE,
        conditions.SAMPLE_RATIO_OK,
        conditions.GUARDRAILS_OK,
    )
    kept = [found for kind in kinds if (found := conditions.find(before, kind)) is not None]
    verdicts = [condition(kind, True, str(status.phase), why) for kind in (conditions.COMPLETED, conditions.READY)]
    return [*({key: item[key] for key in ("type", "status", "reason", "message")} for item in kept), *verdicts]


def _accepted(status: ExperimentStatus, observation: Observation) -> ConditionDict:
    error = (objection(observation) if status.phase in (PENDING, READY) else None) or redefined(observation)
    if error is not None:
        return conditions.rejected(conditions.ACCEPTED, error)
    return condition(conditions.ACCEPTED, True, conditions.VALID, "the spec is valid and everything it names exists")


def _targets_ready(status: ExperimentStatus, observation: Observation) -> ConditionDict:
    if not observation.unready:
        return condition(conditions.TARGETS_READY, True, ARMS_READY, "the deployment of every arm is ready")
    if observation.unknown:
        names = ", ".join(arm.deployment for arm in observation.unknown)
        message = f"it is not known whether {names} exists, so weights stay as they are"
        return condition(conditions.TARGETS_READY, None, DEPLOYMENT_UNKNOWN, message)
    names = ", ".join(f"{arm.name} (ModelDeployment {arm.deployment})" for arm in observation.unready)
    if status.phase in (PENDING, READY):
        return condition(conditions.TARGETS_READY, None, TARGETS_NOT_READY, f"waiting for {names}")
    if observation.control in observation.unready:
        message = f"not ready: {names}. The control is among them, so weights are frozen"
        return condition(conditions.TARGETS_READY, False, "ControlLost", message)
    return condition(conditions.TARGETS_READY, False, TARGETS_NOT_READY, f"not ready, so at weight 0: {names}")


def _facts_available(before: list[ConditionDict] | None, observation: Observation) -> list[ConditionDict]:
    """Only where a fact that a decision needs could not be had, now or before."""
    if observation.missing:
        said = "; ".join(describe(request, fact) for request, fact in observation.missing.items())
        return [condition(conditions.FACTS_AVAILABLE, False, FACTS_MISSING, said)]
    if conditions.find(before, conditions.FACTS_AVAILABLE) is None:
        return []
    return [condition(conditions.FACTS_AVAILABLE, True, ALL_KNOWN, "everything that a decision needs is known")]


def _route(decision: Decision, refused: MillraceError | None, undelegated: Sequence[str]) -> ConditionDict:
    status, observation = decision.status, decision.observation
    kind = conditions.ROUTE_PROGRAMMED
    if not observation.mesh:
        message = (
            "the cluster does not serve both VirtualService and DestinationRule, so all traffic goes to the champion; "
            "install Istio to split it"
        )
        return condition(kind, False, MESH_ABSENT, message)
    if refused is not None:
        return conditions.rejected(kind, refused)
    if undelegated:
        message = (
            f"the VirtualService {undelegated[0]!r} has the host of the service; let it delegate to "
            f"{{name: {observation.spec.service}}}, or remove it"
        )
        return condition(kind, False, NOT_DELEGATED, message)
    if observation.unknown and status.phase in SPLITTING:
        return condition(kind, None, DEPLOYMENT_UNKNOWN, "the route stays as it is while a deployment is unknown")
    if status.phase == PENDING:
        return condition(kind, None, NOT_STARTED, "traffic is not split yet")
    return _splitting(decision)


def _splitting(decision: Decision) -> ConditionDict:
    weights = decision.status.weights
    # Who waits for Ready then finds the phase Running.
    begun = decision.status.phase != READY
    if begun and decision.programmed and weights is not None and weights.applied_at:
        split = ", ".join(f"{arm} {weight}%" for arm, weight in (weights.applied or {}).items())
        copied = "".join(f"; {percent}% of it is copied to {arm}" for arm, percent in (weights.mirrored or {}).items())
        return condition(conditions.ROUTE_PROGRAMMED, True, PROGRAMMED, f"the route splits traffic: {split}{copied}")
    return condition(conditions.ROUTE_PROGRAMMED, None, SETTLING, "the route is being changed")
