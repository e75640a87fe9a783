"""Who is the champion of a service, the deployment that plain clients reach, and what its route should be therefore.

The record is the annotation ``millrace.dev/champion`` of the stable Service; it survives restarts and Experiments, and
a person may change it there while no Experiment runs. Rules in order, first hit wins:

1. While an Experiment runs, its control; once it promotes, the winner.
2. The recorded one, as long as it exists and is not being deleted. One of which that is not known counts as there.
3. A champion that goes leaves its place to the oldest Ready deployment of the service: the service's name keeps
   answering, and an Event says so. Where no other is Ready the leaving one stays to its end.
4. The first deployment that becomes Ready. The others of that moment are remembered as contenders: the race between
   pods that start at once decides nothing, so an Experiment may later name any of them as its control.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from millrace_operators.routing.state import (
    DEFAULT_SETTLE_SECONDS,
    Champion,
    DesiredRoute,
    Previewed,
    RouteObservation,
    RouteTarget,
    Split,
)


def desired_route(observation: RouteObservation, split: Split | None) -> DesiredRoute:
    """What the route should be while an Experiment asks for ``split``; None: none has a part in it."""
    champion = elect(observation.live.champion, observation.targets, split, observation.unknown)
    pointed = candidate(champion, observation.targets)
    return DesiredRoute(
        service=observation.service,
        namespace=observation.namespace,
        targets=observation.targets,
        champion=champion,
        pointed=pointed,
        split=split,
        settle=split.settle if split else DEFAULT_SETTLE_SECONDS,
        roots=tuple(root.name for root in observation.roots),
        unknown=observation.unknown,
        resilience=observation.resilience,
        previewed=previewed(split, pointed, observation.targets),
    )


def previewed(split: Split | None, pointed: RouteTarget | None, targets: Sequence[RouteTarget]) -> Previewed | None:
    """What is previewed behind the service: a running Experiment's challenger, else a revision that is to take over.

    There is one name for it, so of several deployments with such a revision the champion's goes first, then the oldest.
    """
    if split is not None and split.preview:
        return next(
            (Previewed(target.name, target.revision) for target in targets if target.name == split.preview), None
        )
    found = [target for target in targets if target.preview and not target.deleting]
    first = min(found, key=lambda target: (target != pointed, target.age_order), default=None)
    return Previewed(first.name, first.preview) if first is not None else None


def elect(
    recorded: Champion, targets: Sequence[RouteTarget], split: Split | None, unknown: Collection[str] = ()
) -> Champion:
    """The champion now. Its ``name`` is empty while no deployment has ever been Ready.

    Args:
        unknown: deployments that are not among ``targets`` and may exist all the same.
    """
    by_name = {target.name: target for target in targets}
    if split is not None and split.champion in by_name:
        return Champion(split.champion)
    holder = by_name.get(recorded.name)
    if recorded.name in unknown or (holder is not None and not holder.deleting):
        return recorded
    heir = _oldest_ready(target for target in targets if not target.deleting)
    if heir is None:
        return recorded if holder is not None else Champion()
    if recorded.name:
        return Champion(heir.name)
    return Champion(heir.name, tuple(sorted(name for name in by_name if name != heir.name)))


def may_control(control: str, recorded: Champion) -> bool:
    """Whether an Experiment may take this deployment as its control: the champion, or a contender of its race."""
    return control == recorded.name or control in recorded.contenders


def candidate(champion: Champion, targets: Sequence[RouteTarget]) -> RouteTarget | None:
    """The deployment that the route points at: the champion, or before there is one the oldest; None without any."""
    for target in targets:
        if target.name == champion.name:
            return target
    staying = [target for target in targets if not target.deleting] or targets
    return min(staying, key=lambda target: target.age_order, default=None)


def _oldest_ready(targets: Iterable[RouteTarget]) -> RouteTarget | None:
    return min((target for target in targets if target.ready), key=lambda target: target.age_order, default=None)
