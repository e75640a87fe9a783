"""What the route of a service is a function of, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple

from millrace_core.api import names
from millrace_core.api.group import GROUP
from millrace_kube import contests
from millrace_operators.resilience import Resilience

Object = dict[str, Any]

# Annotation of the stable Service: who else was in the race when the champion was elected for being Ready first.
CONTENDERS: Final = f"{GROUP}/contenders"
# Annotation of the DestinationRule: when a subset was last added; of the VirtualService: when it was last changed.
CHANGED_AT: Final = f"{GROUP}/changed-at"
# Annotation of the VirtualService and the DestinationRule: the last times at which somebody else's edit was undone.
REWRITTEN_AT: Final = f"{GROUP}/rewritten-at"
# Annotation of both: hash of the spec that Millrace applied last. What is stored may differ from it: by defaults and
# webhooks, which are left alone.
WRITTEN: Final = f"{names.APPLIED_HASH}-spec"

# Undone edits within this time that make a fight; the route is then left alone until the first of them is that old. As
# of every child; but of a route the times stand in its annotations, for all its objects and across restarts.
FIGHT_WINDOW: Final = contests.WINDOW
FIGHT_EDITS: Final = contests.MOST

# How long a change takes to reach every proxy, where no Experiment says otherwise.
DEFAULT_SETTLE_SECONDS: Final = 5.0

# All of the traffic, in percent.
WHOLE: Final = 100


@dataclass(frozen=True)
class RouteTarget:
    """A ModelDeployment of the service.

    Attributes:
        name: of the ModelDeployment.
        uid: of the ModelDeployment.
        created: its ``metadata.creationTimestamp``.
        revision: the active revision; empty while there is none.
        ready: whether the active revision has a ready pod.
        deleting: whether its deletion has begun.
        waits: how long a request may wait in its pods for its turn, in seconds.
        preview: its revision that is previewed; empty: none.
    """

    name: str
    uid: str
    created: str
    revision: str = ""
    ready: bool = False
    deleting: bool = False
    waits: float = 1.0
    preview: str = ""

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
        final: whether it is decided, and all traffic goes to the champion.
        preview: the deployment that is previewed; empty: none.
        mirrors: percent of the requests that are copied, by deployment; None: it is not about copies.
        unit_header: of the unit by which a mesh may ask for the arm; empty: there is nothing to ask.
    """

    experiment: str
    champion: str
    weights: Mapping[str, int]
    rules: tuple[HeaderRule, ...] = ()
    arms: tuple[str, ...] = ()
    settle: float = DEFAULT_SETTLE_SECONDS
    final: bool = False
    preview: str = ""
    mirrors: Mapping[str, int] | None = None
    unit_header: str = ""


@dataclass(frozen=True)
class Champion:
    """Who the champion is, and who else was in the race if it was elected for being Ready first."""

    name: str = ""
    contenders: tuple[str, ...] = ()


@dataclass(frozen=True)
class RouteNotes:
    """What Millrace has noted at an object of the mesh; see ``CHANGED_AT``, ``REWRITTEN_AT`` and ``WRITTEN``."""

    changed_at: datetime | None = None
    rewritten_at: tuple[datetime, ...] = ()
    written: str | None = None


@dataclass(frozen=True)
class LiveRoute:
    """The objects as they are, None where absent, and what is noted at them.

    Attributes:
        mesh: whether both of the mesh's kinds are served.
        champion: as the stable Service records it.
        deployments: names of all that they belong to, and of the champion.
        subsets: pod labels of each subset that the DestinationRule has, by name.
        pointed: the subsets that the VirtualService leads to, ours or as somebody has left it.
        calm_at: when the minute is over in which edits of it were undone three times; None: there is no fight.
    """

    stable: Object | None = None
    arms: Object | None = None
    rule: Object | None = None
    virtual: Object | None = None
    mesh: bool = True
    champion: Champion = Champion()
    deployments: frozenset[str] = frozenset()
    subsets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pointed: frozenset[str] = frozenset()
    rule_notes: RouteNotes = RouteNotes()
    virtual_notes: RouteNotes = RouteNotes()
    calm_at: datetime | None = None
    preview: Object | None = None

    @property
    def objects(self) -> tuple[Object, ...]:
        """Those that exist, in the order in which they are taken away: the route before what it points at."""
        found = (self.virtual, self.rule, self.preview, self.arms, self.stable)
        return tuple(item for item in found if item is not None)


class Previewed(NamedTuple):
    """What the preview Service leads to: a revision of a ModelDeployment."""

    deployment: str
    revision: str


class RootVirtualService(NamedTuple):
    """A VirtualService of the user's own for the service's host, and whether it delegates to Millrace's."""

    name: str
    delegates: bool


@dataclass(frozen=True)
class RouteObservation:
    """A service with its deployments and its route, at one moment.

    Attributes:
        targets: the service's deployments, oldest first.
        unknown: deployments that the route or the record names, and of which nobody can say whether they exist.
        resilience: what proxies do where a pod fails.
    """

    service: str
    namespace: str
    targets: Sequence[RouteTarget]
    live: LiveRoute
    now: datetime
    roots: tuple[RootVirtualService, ...] = ()
    unknown: frozenset[str] = frozenset()
    resilience: Resilience = field(default_factory=Resilience)

    @property
    def undelegated(self) -> tuple[str, ...]:
        """The user's own VirtualServices that keep the route from having any effect, because they do not delegate."""
        return tuple(root.name for root in self.roots if not root.delegates)


@dataclass(frozen=True)
class DesiredRoute:
    """What the route of one service should be.

    Attributes:
        targets: the service's deployments.
        champion: as it is to be recorded.
        pointed: the deployment that plain clients reach; None: there is none, and the route has to go.
        roots: names of the user's own VirtualServices for the service's host; Millrace's is then their delegate.
        settle: seconds that a change takes to reach every proxy.
        unknown: deployments that are not among ``targets`` and may exist all the same.
        resilience: what proxies do where a pod fails.
        previewed: what the preview Service leads to; None: there is none.
    """

    service: str
    namespace: str
    targets: Sequence[RouteTarget]
    champion: Champion
    pointed: RouteTarget | None
    split: Split | None
    settle: float
    roots: tuple[str, ...] = ()
    unknown: frozenset[str] = frozenset()
    resilience: Resilience = field(default_factory=Resilience)
    previewed: Previewed | None = None

    @property
    def try_seconds(self) -> float:
        """How long one try of a request may take."""
        return self.resilience.try_seconds(max((target.waits for target in self.targets), default=0.0))


@dataclass(frozen=True)
class RouteObjects:
    """The objects of a desired route, as they would be applied.

    Attributes:
        services: the one of all arms, and the stable one.
        route: the VirtualService; where there are no DestinationRules it leads to the stable Service.
        rule: the DestinationRule with the subsets that are needed.
        transition: the same with those that are there beside them, until no proxy points at them.
        needed: names of the subsets that are needed.
        preview: the Service of what is previewed; None: nothing is.
    """

    services: tuple[Object, Object]
    route: Object
    rule: Object
    transition: Object
    needed: frozenset[str]
    preview: Object | None = None


@dataclass(frozen=True)
class ComparedObject:
    """An object of the mesh as it is wanted, held against the one that is there.

    Attributes:
        item: as it is wanted.
        digest: of its spec; see ``WRITTEN``.
        notes: at the one that is there.
        applied: whether the spec that Millrace applied last is the wanted one.
        edited: whether somebody else has changed what Millrace applied.
    """

    item: Object
    digest: str
    notes: RouteNotes
    applied: bool
    edited: bool


@dataclass(frozen=True)
class ComparedRoute:
    """``RouteObjects`` held against the live route."""

    services: tuple[Object, Object]
    route: ComparedObject
    rule: ComparedObject
    transition: ComparedObject
    needed: frozenset[str]
    preview: Object | None = None


@dataclass(frozen=True)
class RouteChanges:
    """What to write now so that the live route comes nearer to the desired one.

    Attributes:
        apply: objects to apply, in order; those that are as desired already cost nothing.
        delete: objects to delete, in order.
        again_at: when to look again although nothing happens; None: no need.
        programmed: whether the live route sends traffic where it should.
        settled: ``programmed``, and nothing is left to take away.
        rewritten: objects that somebody else edited and that are put right.
        waits_for: deployments of which it must be known first whether they exist; until then the route stays as it is.
    """

    apply: tuple[Object, ...] = ()
    delete: tuple[Object, ...] = ()
    again_at: datetime | None = None
    programmed: bool = True
    settled: bool = True
    rewritten: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
