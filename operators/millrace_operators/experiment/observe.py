"""What the cache holds of a service's Experiments, read into plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentSpec, ExperimentStatus
from millrace_core.api.loading import load_object
from millrace_core.base.errors import ReportError
from millrace_kube.cache import Cache
from millrace_kube.resources import (
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    Object,
    annotations_of,
    deleting,
    name_of,
    namespace_of,
)
from millrace_operators.experiment import command as commands
from millrace_operators.experiment.desired import split
from millrace_operators.experiment.observed import ROUTED, ArmTarget, Observed
from millrace_operators.routing import observe as routes
from millrace_operators.routing.champion import elect
from millrace_operators.routing.plan import Wanted, fight_over_at, plan
from millrace_operators.routing.state import DEFAULT_SETTLE_SECONDS, Champion, Live, Split, Target


@dataclass(frozen=True)
class Scene:
    """A service with its deployments and its route, at one moment."""

    service: str
    namespace: str
    targets: Sequence[Target]
    live: Live
    champion: Champion
    roots: tuple[routes.Root, ...]
    now: datetime

    def wanted(self, asked: Split | None) -> Wanted:
        """What the route should be while ``asked`` is what an Experiment asks."""
        return Wanted(
            service=self.service,
            namespace=self.namespace,
            targets=self.targets,
            champion=elect(self.champion, self.targets, asked),
            split=asked,
            settle=asked.settle if asked else DEFAULT_SETTLE_SECONDS,
            roots=tuple(root.name for root in self.roots),
        )


def scene(cache: Cache, namespace: str, service: str, now: datetime) -> Scene:
    """The service as the cache shows it."""
    live = routes.live(cache, namespace, service)
    return Scene(
        service=service,
        namespace=namespace,
        targets=routes.targets(cache, namespace, service),
        live=live,
        champion=routes.recorded(live.stable),
        roots=routes.roots(cache, namespace, service),
        now=now,
    )


def candidates(cache: Cache, namespace: str, service: str) -> list[Object]:
    """The service's Experiments that want a turn: started ones first, then the oldest; finished ones are left out."""
    found = [item for item in cache.all(EXPERIMENTS, namespace) if item["spec"].get("service") == service]
    return sorted((item for item in found if not _at_rest(item)), key=_precedence)


def missing_deployments(cache: Cache, namespace: str, service: str) -> set[str]:
    """Deployments that the route or an Experiment of the service names, and the cache does not hold."""
    live = routes.live(cache, namespace, service)
    named = {owner["name"] for item in live.objects() for owner in item["metadata"].get("ownerReferences") or ()}
    named |= {routes.recorded(live.stable).name} - {""}
    for document in candidates(cache, namespace, service):
        named |= {arm["deployment"] for arm in document["spec"].get("arms") or ()}
    return {name for name in named if cache.get(MODEL_DEPLOYMENTS, namespace, name) is None}


def parse(document: Object) -> Experiment:
    """The typed object.

    Raises:
        RejectError: a field has no valid value.
    """
    parsed = load_object(document)
    if not isinstance(parsed, Experiment):
        raise ReportError(f"{document['kind']} came where an Experiment was expected")
    return parsed


def observe(cache: Cache, document: Object, parsed: Experiment, around: Scene, blocker: str) -> Observed:
    """An Experiment in its surroundings; ``blocker`` is the one that has the service, empty: none."""
    status = parsed.status or ExperimentStatus()
    seen = Observed(
        spec=parsed.spec,
        status=status,
        arms=_arms(cache, namespace_of(document), parsed.spec),
        now=around.now,
        command=annotations_of(document).get(COMMAND_ANNOTATION, ""),
        deleting=deleting(document),
        deployments=tuple(target.name for target in around.targets),
        champion=around.champion,
        blocker=blocker,
        mesh=around.live.mesh,
        programmed=False,
        fight=fight_over_at(around.live, around.now) is not None,
    )
    return seen.with_route(programmed=_programmed(name_of(document), seen, around))


def asked(name: str, spec: ExperimentSpec, status: ExperimentStatus, seen: Observed) -> Split | None:
    """What the Experiment asks of the route in this status."""
    return split(name, spec, status, {arm.name: seen.ready(arm) for arm in spec.arms})


def _programmed(name: str, seen: Observed, around: Scene) -> bool:
    """Whether the live route is what the stored status asks for."""
    wish = asked(name, seen.spec, seen.status, seen)
    delegated = all(root.delegates for root in around.roots)
    return wish is not None and delegated and plan(around.wanted(wish), around.live, around.now).programmed


def _arms(cache: Cache, namespace: str, spec: ExperimentSpec) -> dict[str, ArmTarget]:
    arms = {}
    for arm in spec.arms:
        item = cache.get(MODEL_DEPLOYMENTS, namespace, arm.deployment)
        arms[arm.name] = ArmTarget(routes.target(item), routes.service_of(item)) if item else ArmTarget()
    return arms


def _at_rest(document: Object) -> bool:
    """Whether the Experiment is over, with nothing left to say or do."""
    status = document.get("status") or {}
    return (
        status.get("phase") in TERMINAL
        and not deleting(document)
        and status.get("observedGeneration") == document["metadata"]["generation"]
        and (status.get("handledCommand") or "")
        == commands.identity(annotations_of(document).get(COMMAND_ANNOTATION, status.get("handledCommand") or ""))
    )


def _precedence(document: Object) -> tuple[bool, str, str]:
    started = (document.get("status") or {}).get("phase") in ROUTED
    return not started, document["metadata"].get("creationTimestamp", ""), name_of(document)
