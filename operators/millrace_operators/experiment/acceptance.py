"""Whether an Experiment can be taken up as it stands: what no schema can say, because it depends on other objects."""

from __future__ import annotations

from typing import Final

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_operators.experiment.observed import Observed
from millrace_operators.routing.champion import may_control

BUSY: Final = "ServiceBusy"
WRONG_SERVICE: Final = "WrongService"
NOT_CHAMPION: Final = "ControlNotChampion"


def objection(seen: Observed) -> RejectError | None:
    """The first thing that stands against it, or None. It may vanish when other objects change."""
    return _unknown_service(seen) or _wrong_arm(seen) or _busy(seen) or _not_champion(seen)


def _unknown_service(seen: Observed) -> RejectError | None:
    if seen.deployments:
        return None
    return NotFoundError(
        f"no ModelDeployment of this namespace serves behind {seen.spec.service!r}",
        hint="Name the service of a ModelDeployment, or apply one with this spec.service",
        field="spec.service",
    )


def _wrong_arm(seen: Observed) -> RejectError | None:
    for index, arm in enumerate(seen.spec.arms):
        held = seen.arms[arm.name]
        field = f"spec.arms[{index}].deployment"
        if held.target is None:
            return NotFoundError(
                f"there is no ModelDeployment {arm.deployment!r}",
                hint=f"Deployments of the service {seen.spec.service!r}: {', '.join(seen.deployments)}",
                field=field,
            )
        if held.service != seen.spec.service:
            return RejectError(
                f"the ModelDeployment {arm.deployment!r} serves behind {held.service!r}, not {seen.spec.service!r}",
                hint=f"Deployments of the service {seen.spec.service!r}: {', '.join(seen.deployments)}",
                field=field,
                reason=WRONG_SERVICE,
            )
    return None


def _busy(seen: Observed) -> RejectError | None:
    if not seen.blocker:
        return None
    return RejectError(
        f"the Experiment {seen.blocker!r} has the service {seen.spec.service!r}",
        hint="This one starts when that one has ended",
        field="spec.service",
        reason=BUSY,
    )


def _not_champion(seen: Observed) -> RejectError | None:
    control, champion = seen.control.deployment, seen.champion.name
    if not champion or may_control(control, seen.champion):
        return None
    return RejectError(
        f"the control {control!r} is not the champion of {seen.spec.service!r}; that is {champion!r}",
        hint=f"Make {champion!r} the control: all traffic that no challenger gets would move to the control",
        field="spec.arms",
        reason=NOT_CHAMPION,
    )
