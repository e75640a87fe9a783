"""Which revision should run, which one serves, and which have to go.

A new revision comes up beside the one that serves, with as many pods, and takes its place only when all are ready.
The old one goes when no route leads to it any more. A revision that never becomes ready changes nothing for clients,
and goes as soon as the spec asks for another.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
    """

    name: str
    replicas: int
    ready: int
    current: bool = True
    created: str = ""
    device: str = "cpu"

    @property
    def complete(self) -> bool:
        """Whether all its pods are ready."""
        return self.current and self.ready >= self.replicas > 0


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        target: the revision that the spec asks for.
        replicas: its pods.
        active: the revision that serves; empty while none has been ready.
        delete: revisions that have to go.
        switched: whether ``active`` has just become the target.
    """

    target: str
    replicas: int
    active: str
    delete: tuple[str, ...] = ()
    switched: bool = False


def plan(
    target: str, revisions: Sequence[Revision], recorded: str, scaling: Scaling, *, routed: Collection[str]
) -> Plan:
    """The plan of a deployment.

    Args:
        target: name of the revision that the spec asks for.
        revisions: those that exist.
        recorded: the revision that served last, from the status.
        routed: revisions that the live route leads to.
    """
    present = {revision.name: revision for revision in revisions}
    before = recorded if recorded in present else _serving(revisions)
    active = target if _takes_over(present.get(target), present.get(before)) else before
    living = [present[name].replicas for name in {active, target} if name in present]
    keep = {target, active, *routed}
    return Plan(
        target=target,
        replicas=replicas(scaling, *living) if scaling.min < scaling.max else scaling.min,
        active=active,
        delete=tuple(sorted(name for name in present if name not in keep)),
        switched=active == target != recorded,
    )


def _takes_over(target: Revision | None, before: Revision | None) -> bool:
    """Whether the target serves from now on: complete, or ready at all where nothing else is."""
    if target is None or target == before:
        return target is not None
    if before is not None and before.ready > 0:
        return target.complete
    return target.ready > 0


def _serving(revisions: Sequence[Revision]) -> str:
    """The newest revision with ready pods, where the status does not say which one served; empty: none."""
    ready = [revision for revision in revisions if revision.ready > 0]
    return max(ready, key=lambda revision: (revision.created, revision.name)).name if ready else ""
