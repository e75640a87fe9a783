"""All that a decision about a service and its Experiments depends on, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final

from millrace_core.api.experiment import TERMINAL, Arm, ExperimentSpec, ExperimentStatus
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_kube.resources import MODEL_DEPLOYMENTS, Object, deleting, name_of, namespace_of
from millrace_operators.facts.fact import NO_FACTS, Fact, FactRequest, Facts
from millrace_operators.facts.live_objects import LiveObject
from millrace_operators.routing.state import Champion, RouteObservation, RouteTarget

PENDING: Final = "Pending"
READY: Final = "Ready"
RUNNING: Final = "Running"
HOLDING: Final = "Holding"
PAUSED: Final = "Paused"
PROMOTING: Final = "Promoting"
ROLLING_BACK: Final = "RollingBack"

# Phases in which traffic is split, and those in which it goes back to one arm.
SPLITTING: Final = (READY, RUNNING, HOLDING, PAUSED)
ENDING: Final = (PROMOTING, ROLLING_BACK)
ROUTED: Final = SPLITTING + ENDING
# Traffic has been split, and is.
LIVE: Final = (RUNNING, HOLDING, PAUSED)

NO_CHAMPION: Final = Champion()

MissingFacts = Mapping[FactRequest[Any], Fact[Any]]


@dataclass(frozen=True)
class ArmTarget:
    """The deployment of an arm.

    Attributes:
        target: the ModelDeployment; None where there is none of the name.
        service: the service that it serves behind.
        unknown: whether ``target`` is None only because nobody could say if there is one.
    """

    target: RouteTarget | None = None
    service: str = ""
    unknown: bool = False


@dataclass(frozen=True)
class Observation:
    """An Experiment and its surroundings at one moment.

    Attributes:
        document: the object as it is stored.
        command: value of the annotation ``millrace.dev/command``; empty where absent.
        deleting: whether the Experiment's deletion has begun.
        arms: by arm name.
        deployments: all deployments of the service, for messages.
        champion: of the service, as recorded.
        blocker: name of the Experiment that has the service; empty: none.
        mesh: whether the cluster serves the mesh's kinds.
        fight: whether somebody else keeps editing the route.
        facts: what was asked for because the cache does not hold it.
        missing: those facts that a decision about this Experiment needs and that nobody answered.
        looks: what a look at the metrics that is due asks for.
    """

    document: Object
    spec: ExperimentSpec
    status: ExperimentStatus
    arms: Mapping[str, ArmTarget]
    now: datetime
    command: str = ""
    deleting: bool = False
    deployments: tuple[str, ...] = ()
    champion: Champion = NO_CHAMPION
    blocker: str = ""
    mesh: bool = True
    fight: bool = False
    facts: Facts = NO_FACTS
    missing: MissingFacts = field(default_factory=dict)
    looks: tuple[FactRequest[Any], ...] = ()

    def after(self, status: ExperimentStatus) -> Observation:
        """The same with another status."""
        return replace(self, status=status)

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return name_of(self.document)

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return namespace_of(self.document)

    @property
    def phase(self) -> str:
        """The stored phase."""
        return self.status.phase or PENDING

    @property
    def control(self) -> Arm:
        """The control arm."""
        return next(arm for arm in self.spec.arms if arm.control)

    @property
    def challengers(self) -> list[Arm]:
        """The other arms, in order."""
        return [arm for arm in self.spec.arms if not arm.control]

    @property
    def settle(self) -> timedelta:
        """How long a change takes to reach every proxy."""
        return timedelta(seconds=duration.seconds(self.spec.routing.settle, field="spec.routing.settle"))

    @property
    def unready(self) -> list[Arm]:
        """Arms that must not get traffic."""
        return [arm for arm in self.spec.arms if arm.name not in self.ready]

    @property
    def challenger_unready(self) -> bool:
        """Whether a challenger is known not to be ready while the control is: its own fault, as far as is known."""
        return bool(self.unready) and not self.unknown and self.control not in self.unready

    @property
    def unknown(self) -> list[Arm]:
        """Arms of which nobody could say whether their deployment exists."""
        return [arm for arm in self.spec.arms if self.arms[arm.name].unknown]

    @property
    def lost(self) -> frozenset[str]:
        """Names of arms whose deployment is gone, going, or serves elsewhere; not those that are unknown."""
        return frozenset(name for name, held in self.arms.items() if not held.unknown and not self._stays(held))

    @property
    def ready(self) -> frozenset[str]:
        """Names of arms that may get traffic."""
        return frozenset(
            name for name, held in self.arms.items() if held.target and held.target.ready and self._stays(held)
        )

    def _stays(self, held: ArmTarget) -> bool:
        return held.target is not None and not held.target.deleting and held.service == self.spec.service

    def applied_at(self) -> datetime | None:
        """Since when the route holds what is wanted; None while it is being changed."""
        return self.status.weights.applied_at if self.status.weights else None


@dataclass(frozen=True)
class Unreadable:
    """An Experiment that this release cannot read, and why.

    If it runs, it runs on: the route is left as it is, and no other Experiment may have the service. Its deletion leads
    traffic back to the champion, as always.
    """

    document: Object
    error: RejectError

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return name_of(self.document)

    @property
    def deleting(self) -> bool:
        """Whether its deletion has begun."""
        return deleting(self.document)

    @property
    def routed(self) -> bool:
        """Whether it has a part in the route; one in a phase of another release counts as having it."""
        return ((self.document.get("status") or {}).get("phase") or PENDING) not in (PENDING, *TERMINAL)


@dataclass(frozen=True)
class ServiceObservation:
    """A service, its route, and its Experiments that want a turn, at one moment.

    Attributes:
        experiments: in the order in which they may have the service.
    """

    route: RouteObservation
    experiments: tuple[Observation, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()

    @property
    def now(self) -> datetime:
        """When it was observed."""
        return self.route.now

    @property
    def needs(self) -> list[FactRequest[Any]]:
        """The facts that a decision needs and that are not known yet."""
        place = MODEL_DEPLOYMENTS, self.route.namespace
        return [
            *(LiveObject(*place, name) for name in sorted(self.route.unknown)),
            *(request for item in self.experiments for request in (*item.missing, *item.looks)),
        ]
