"""Which revision should run, which one serves, and which have to go.

A new revision comes up beside the one that serves, with as many pods, and takes its place only when all are ready.
It begins with one pod; the others follow once it is known which model that one measured, so that they can be held to
it. The old one goes when no route leads to it any more. A revision that never becomes ready changes nothing for
clients, and goes as soon as the spec asks for another.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from millrace_core.api.modeldeployment import Scaling
from millrace_operators.modeldeployment.scaler import replicas


@dataclass(frozen=True)
class Revision:
    """A Deployment of a revision, as observed.

    Attributes:
        replicas: ``spec.replicas``.
        ready: ready pods.
        current: whether its status describes its spec.
        created: ``metadata.creationTimestamp``.
        device: gpu or cpu.
        alike: whether no pod measured another model than the others.
        ready_pods: ready pods as the pods themselves say. They are watched apart from their Deployment.
    """

    name: str
    replicas: int
    ready: int
    current: bool = True
    created: str = ""
    device: str = "cpu"
    alike: bool = True
    ready_pods: int = 0

    @property
    def serves(self) -> bool:
        """Whether a pod is ready by any account: that none is would move all traffic at once."""
        return self.ready > 0 or self.ready_pods > 0


@dataclass(frozen=True)
class Terms:
    """What a strategy of its own asks of the plan.

    Attributes:
        waits: whether the target may not take the traffic from another revision yet, whole or not.
        parked: whether the target has no pods.
        warm: other revisions that keep their pods as they are.
        serve: a revision that serves from now on, if it can; empty: none.
    """

    waits: bool = False
    parked: bool = False
    warm: frozenset[str] = frozenset()
    serve: str = ""


NO_TERMS: Final = Terms()


@dataclass(frozen=True)
class RolloutPlan:
    """What to do.

    Attributes:
        target: the revision that the spec asks for.
        active: the revision that serves; empty while none has been ready.
        replicas: pods of the target and of the active revision, by name.
        delete: revisions that have to go.
        switched: whether ``active`` has just become the target.
        whole: whether nothing is missing of the target.
    """

    target: str
    active: str
    replicas: Mapping[str, int] = field(default_factory=dict)
    delete: tuple[str, ...] = ()
    switched: bool = False
    whole: bool = False


def plan(
    target: str,
    revisions: Sequence[Revision],
    recorded: str,
    scaling: Scaling,
    *,
    pinned: Collection[str],
    routed: Collection[str],
    held: bool = False,
    terms: Terms = NO_TERMS,
) -> RolloutPlan:
    """The plan of a deployment.

    Args:
        target: name of the revision that the spec asks for.
        revisions: those that exist.
        recorded: the revision that served last, from the status.
        pinned: revisions of which it is known which model their pods have to serve.
        routed: revisions that the live route leads to.
        held: whether the target's gates keep it from traffic. One that serves already goes on: to take it away would
            leave clients with nothing.
        terms: of its strategy; a RollingUpdate has none.
    """
    held = held and target != recorded and target not in routed
    present = {revision.name: revision for revision in revisions}
    able = able_to_serve(revisions, pinned)
    if held:
        able -= {target}
    before = recorded if recorded in present else _newest(revisions, able - {target}) or _newest(revisions, able)
    before = terms.serve if terms.serve in able else before
    living = [present[name].replicas for name in {before, target} if name in present]
    wanted = replicas(scaling, *living) if scaling.min < scaling.max else scaling.min
    takes_over = target in able and _complete(present[target], present.get(before), wanted) and not terms.waits
    active = target if takes_over else before
    parked = held or (terms.parked and active != target)
    counts = {} if parked else {target: wanted if target in {active, *pinned} else 1}
    if active and active != target:
        counts[active] = replicas(scaling, present[active].replicas)
    counts |= {name: present[name].replicas for name in sorted(terms.warm) if name in present and name not in counts}
    keep = {*counts, active, *routed}
    return RolloutPlan(
        target=target,
        active=active,
        replicas=counts,
        delete=tuple(sorted(name for name in present if name not in keep)),
        switched=active == target != recorded,
        whole=target in able and _whole(present[target], wanted),
    )


def able_to_serve(revisions: Sequence[Revision], pinned: Collection[str]) -> set[str]:
    """Names of the revisions that have a ready pod, and of which it is known that all pods serve one model."""
    return {item.name for item in revisions if item.ready > 0 and item.alike and item.name in pinned}


def _complete(target: Revision, before: Revision | None, wanted: int) -> bool:
    """Whether nothing is missing when the target serves from now on: it is whole, or nothing else serves anyway."""
    if before is None or not before.serves or before == target:
        return True
    return _whole(target, wanted)


def _whole(target: Revision, wanted: int) -> bool:
    return target.current and target.ready >= target.replicas >= wanted


def _newest(revisions: Sequence[Revision], able: Collection[str]) -> str:
    """The newest revision that can serve, where the status does not say which one served; empty: none."""
    found = [revision for revision in revisions if revision.name in able]
    return max(found, key=lambda revision: (revision.created, revision.name)).name if found else ""
