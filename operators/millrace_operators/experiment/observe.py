"""What the cache holds of a service's Experiments, read into plain values, once per turn."""

from __future__ import annotations

from datetime import datetime

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.command import command_id
from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentSpec, ExperimentStatus
from millrace_core.api.loading import load_object
from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.cache import Cache
from millrace_kube.resources import EXPERIMENTS, MODEL_DEPLOYMENTS, Object, annotations_of, deleting, name_of
from millrace_operators.experiment.observation import (
    ROUTED,
    ArmTarget,
    Observation,
    ServiceObservation,
    Unreadable,
)
from millrace_operators.facts.fact import NO_FACTS, Absent, Facts, Known
from millrace_operators.routing import observe as routes
from millrace_operators.routing.state import RouteObservation


def observe(cache: Cache, namespace: str, service: str, now: datetime, facts: Facts = NO_FACTS) -> ServiceObservation:
    """The service with its route and its Experiments as the cache and the facts show them."""
    route = routes.observe_route(cache, namespace, service, now, facts)
    experiments: list[Observation] = []
    unreadable: list[Unreadable] = []
    for document in candidates(cache, namespace, service):
        try:
            experiments.append(_observe_experiment(cache, document, parse(document), route, facts))
        except RejectError as error:
            unreadable.append(Unreadable(document, error))
    return ServiceObservation(route, tuple(experiments), tuple(unreadable), facts)


def candidates(cache: Cache, namespace: str, service: str) -> list[Object]:
    """The service's Experiments that want a turn: started ones first, then the oldest; finished ones are left out."""
    found = [item for item in cache.all(EXPERIMENTS, namespace) if item["spec"].get("service") == service]
    return sorted((item for item in found if not _at_rest(item)), key=_precedence)


def parse(document: Object) -> Experiment:
    """The typed object.

    Raises:
        RejectError: a field has no valid value.
    """
    parsed = load_object(document)
    if not isinstance(parsed, Experiment):
        raise ReportError(f"{document['kind']} came where an Experiment was expected")
    return parsed


def _observe_experiment(
    cache: Cache, document: Object, parsed: Experiment, route: RouteObservation, facts: Facts
) -> Observation:
    return Observation(
        document=document,
        spec=parsed.spec,
        status=parsed.status or ExperimentStatus(),
        arms=_arms(cache, route.namespace, parsed.spec, facts),
        now=route.now,
        command=annotations_of(document).get(COMMAND_ANNOTATION, ""),
        deleting=deleting(document),
        deployments=tuple(target.name for target in route.targets),
        champion=route.champion,
        mesh=route.live.mesh,
        fight=route.fight,
        facts=facts,
    )


def _arms(cache: Cache, namespace: str, spec: ExperimentSpec, facts: Facts) -> dict[str, ArmTarget]:
    return {arm.name: _arm_target(cache, namespace, arm.deployment, facts) for arm in spec.arms}


def _arm_target(cache: Cache, namespace: str, name: str, facts: Facts) -> ArmTarget:
    item = cache.get(MODEL_DEPLOYMENTS, namespace, name)
    if item is None:
        fact = facts.get(routes.deployment_request(namespace, name))
        if not isinstance(fact, Known):
            return ArmTarget(unknown=not isinstance(fact, Absent))
        item = fact.value
    return ArmTarget(routes.target(item), routes.service_of(item))


def _at_rest(document: Object) -> bool:
    """Whether the Experiment is over, with nothing left to say or do."""
    status = document.get("status") or {}
    return (
        status.get("phase") in TERMINAL
        and not deleting(document)
        and status.get("observedGeneration") == document["metadata"]["generation"]
        and (status.get("handledCommand") or "")
        == command_id(annotations_of(document).get(COMMAND_ANNOTATION, status.get("handledCommand") or ""))
    )


def _precedence(document: Object) -> tuple[bool, str, str]:
    started = (document.get("status") or {}).get("phase") in ROUTED
    return not started, document["metadata"].get("creationTimestamp", ""), name_of(document)
