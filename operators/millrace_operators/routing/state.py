"""What the route of a service is a function of, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from millrace_core.api.base import GROUP

Object = dict[str, Any]

# Annotation of the stable Service: who else was in the race when the champion was elected for being Ready first.
CONTENDERS: Final = f"{GROUP}/contenders"
# Annotation of the DestinationRule: when a subset was last added; of the VirtualService: when it was last changed.
CHANGED_AT: Final = f"{GROUP}/changed-at"
# Annotation of the VirtualService and the DestinationRule: the last times at which somebody else's edit was undone.
REWRITTEN_AT: Final = f"{GROUP}/rewritten-at"

# How long a change takes to reach every proxy, where no Experiment says otherwise.
DEFAULT_SETTLE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Target:
    """A ModelDeployment of the service.

    Attributes:
        name: of the ModelDeployment.
        uid: of the ModelDeployment.
        created: its ``metadata.creationTimestamp``.
        revision: the active revision; empty while there is none.
        ready: whether the active revision has a ready pod.
        deleting: whether its deletion has begun.
    """

    name: str
    uid: str
    created: str
    revision: str = ""
    ready: bool = False
    deleting: bool = False

    @property
    def age_order(self) -> tuple[str, str]:
        """Sorts the oldest first."""
        return (self.created, self.name)


@dataclass(frozen=True)
class HeaderRule:
    """Requests whose ``header`` is exactly ``value`` go to ``deployment``."""

    name: str
    header: str
    value: str
    deployment: str


@dataclass(frozen=True)
class Split:
    """What a running Experiment asks of the route, in terms of deployments.

    Attributes:
        experiment: its name.
        champion: the deployment that plain clients reach meanwhile: the control, or the winner.
        weights: percent by deployment; sums to 100.
        rules: header rules in order.
        arms: all deployments of the Experiment: their subsets stay while it runs, whatever their weights.
        settle: seconds that a change takes to reach every proxy.
    """

    experiment: str
    champion: str
    weights: Mapping[str, int]
    rules: tuple[HeaderRule, ...] = ()
    arms: tuple[str, ...] = ()
    settle: float = DEFAULT_SETTLE_SECONDS


@dataclass(frozen=True)
class Champion:
    """Who the champion is, and who else was in the race if it was elected for being Ready first."""

    name: str = ""
    contenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Live:
    """The four objects as they are, None where absent; ``mesh`` says whether the mesh's kinds are served."""

    stable: Object | None = None
    arms: Object | None = None
    rule: Object | None = None
    virtual: Object | None = None
    mesh: bool = True

    def objects(self) -> tuple[Object, ...]:
        """Those that exist, in the order in which they are taken away: the route before what it points at."""
        return tuple(item for item in (self.virtual, self.rule, self.arms, self.stable) if item is not None)


@dataclass(frozen=True)
class Plan:
    """What to do now.

    Attributes:
        apply: objects to apply, in order; those that are as wanted already cost nothing.
        delete: objects to delete, in order.
        again_at: when to look again although nothing happens; None: no need.
        programmed: whether the live route sends traffic where it should.
        settled: ``programmed``, and nothing is left to take away.
        rewritten: objects that somebody else edited and that are put right.
    """

    apply: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    again_at: datetime | None = None
    programmed: bool = True
    settled: bool = True
    rewritten: tuple[str, ...] = ()
