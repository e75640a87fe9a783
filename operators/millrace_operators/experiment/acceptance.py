"""Whether an Experiment can be taken up as it stands: what no schema can say, because it depends on other objects."""

from __future__ import annotations

from typing import Final

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.identity.experiment_definition import experiment_definition
from millrace_operators.experiment.observation import Observation
from millrace_operators.experiment.ramp import keeps_frozen_steps
from millrace_operators.experiment.size import plan_of
from millrace_operators.experiment.types import TYPES, type_of
from millrace_operators.routing.champion import may_control

BUSY: Final = "ServiceBusy"
WRONG_SERVICE: Final = "WrongService"
UNKNOWN_TYPE: Final = "UnknownType"
NOT_CHAMPION: Final = "ControlNotChampion"
REDEFINED: Final = "Redefined"
STEPS_FROZEN: Final = "StepsFrozen"


def objection(observation: Observation) -> RejectError | None:
    """The first thing that stands against it, or None. It may vanish when other objects change."""
    return (
        _unknown_type(observation)
        or _unknown_service(observation)
        or _wrong_arm(observation)
        or _busy(observation)
        or _not_champion(observation)
        or _unplannable(observation)
    )


def redefined(observation: Observation) -> RejectError | None:
    """Where it denies what is frozen since it was Ready; the API server refuses that, unless its CRD lacks the rule."""
    begun = observation.status.definition
    if begun is not None and begun != experiment_definition(observation.spec):
        return RejectError(
            "type, service or arms are not those that the experiment started with, so its results would mix two",
            hint="Put them back; a rerun with others is a new Experiment. Where it is status.definition that somebody "
            "edited, remove it (kubectl patch --subresource=status), and it is recorded anew",
            field="spec",
            reason=REDEFINED,
        )
    if not keeps_frozen_steps(observation):
        return RejectError(
            "the steps up to the current one are not those of status.steps, so the ramp stays as it is there",
            hint="Put them back; steps still ahead may be changed, and a rerun with others is a new Experiment",
            field="spec.steps",
            reason=STEPS_FROZEN,
        )
    return None


def _unknown_type(observation: Observation) -> RejectError | None:
    """Only where the CRD is of another release than the operator: its enum refuses such a name."""
    if observation.spec.type in TYPES:
        return None
    return RejectError(
        f"this release of Millrace knows no experiment type {observation.spec.type!r}",
        hint=f"Types: {', '.join(TYPES)}. If a newer release made the CRD, upgrade the operator too",
        field="spec.type",
        reason=UNKNOWN_TYPE,
    )


def _unknown_service(observation: Observation) -> RejectError | None:
    if observation.deployments or observation.unknown:
        return None
    return NotFoundError(
        f"no ModelDeployment of this namespace serves behind {observation.spec.service!r}",
        hint="Name the service of a ModelDeployment, or apply one with this spec.service",
        field="spec.service",
    )


def _wrong_arm(observation: Observation) -> RejectError | None:
    for index, arm in enumerate(observation.spec.arms):
        held = observation.arms[arm.name]
        field = f"spec.arms[{index}].deployment"
        if held.unknown:
            continue
        if held.target is None:
            return NotFoundError(
                f"there is no ModelDeployment {arm.deployment!r}",
                hint=f"Deployments of the service {observation.spec.service!r}: {', '.join(observation.deployments)}",
                field=field,
            )
        if held.service != observation.spec.service:
            return RejectError(
                f"the ModelDeployment {arm.deployment!r} serves behind {held.service!r}, "
                f"not {observation.spec.service!r}",
                hint=f"Deployments of the service {observation.spec.service!r}: {', '.join(observation.deployments)}",
                field=field,
                reason=WRONG_SERVICE,
            )
    return None


def _busy(observation: Observation) -> RejectError | None:
    if not observation.blocker:
        return None
    return RejectError(
        f"the Experiment {observation.blocker!r} has the service {observation.spec.service!r}",
        hint="This one starts when that one has ended",
        field="spec.service",
        reason=BUSY,
    )


def _not_champion(observation: Observation) -> RejectError | None:
    control, champion = observation.control.deployment, observation.champion.name
    if not champion or may_control(control, observation.champion):
        return None
    return RejectError(
        f"the control {control!r} is not the champion of {observation.spec.service!r}; that is {champion!r}",
        hint=f"Make {champion!r} the control: all traffic that no challenger gets would move to the control",
        field="spec.arms",
        reason=NOT_CHAMPION,
    )


def _unplannable(observation: Observation) -> RejectError | None:
    """No size is enough for what the primary metric is to find."""
    try:
        plan_of(observation.spec, type_of(observation.spec.type).frozen_steps(observation.spec))
    except RejectError as error:
        return error
    return None
