"""What the cache holds of a service's Experiments, read into plain values, once per turn."""

from __future__ import annotations

from datetime import datetime

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentSpec, ExperimentStatus
from millrace_core.api.loading import load_object
from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.cache import Cache
from millrace_kube.resources import EXPERIMENTS, MODEL_DEPLOYMENTS, Object, annotations_of, deleting, name_of
from millrace_operators.experiment import command as commands
from millrace_operators.experiment.observation import (
    ROUTED,
    ArmTarget,
    Observation,
    ServiceObservation,
    Unreadable,
)
from millrace_operators.routing import observe as routes
from millrace_operators.routing.changes import fight_ends_at
from millrace_operators.routing.state import RouteObservation


def observe(cache: Cache, namespace: str, service: str, now: datetime) -> ServiceObservation:
    """The service with its route and its Experiments as the cache shows them."""
    route = routes.observe_route(cache, namespace, service, now)
    experiments: list[Observation] = []
    unreadable: list[Unreadable] = []
    for document in candidates(cache, namespace, service):
        try:
            experiments.append(_observe_experiment(cache, document, parse(document), route))
        except RejectError as error:
            unreadable.append(Unreadable(document, error))
    return ServiceObservation(route, tuple(experiments), tuple(unreadable))


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


def _observe_experiment(cache: Cache, document: Object, parsed: Experiment, route: RouteObservation) -> Observation:
    return Observation(
        document=document,
        spec=parsed.spec,
        status=parsed.status or ExperimentStatus(),
        arms=_arms(cache, route.namespace, parsed.spec),
        now=route.now,
        command=annotations_of(document).get(COMMAND_ANNOTATION, ""),
        deleting=deleting(document),
        deployments=tuple(target.name for target in route.targets),
        champion=route.champion,
        mesh=route.live.mesh,
        fight=fight_ends_at(route.live, route.now) is not None,
    )


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
