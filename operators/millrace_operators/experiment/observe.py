"""A service as it is at one moment: what the cache holds of it, and what facts say that the cache does not hold.

Nothing else of a turn reads the cache. Observed without facts, the service says which it needs; see ``needs``.
"""

from __future__ import annotations

from datetime import datetime

from millrace_core.api.names import arms_service, preview_service
from millrace_kube.cache import Cache, must_be_served
from millrace_kube.resources import (
    DESTINATION_RULES,
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    name_of,
)
from millrace_operators.experiment.observation import ArmTarget, Observation, ServiceObservation, Unreadable
from millrace_operators.experiment.reading import read_all
from millrace_operators.facts.fact import NO_FACTS, Absent, Fact, Facts, Known
from millrace_operators.facts.live_objects import LiveObject
from millrace_operators.resilience import DEFAULT, Resilience
from millrace_operators.routing import observe as routes
from millrace_operators.routing.state import RouteObservation


def observe(
    cache: Cache,
    namespace: str,
    service: str,
    now: datetime,
    facts: Facts = NO_FACTS,
    *,
    resilience: Resilience = DEFAULT,
) -> ServiceObservation:
    """The service with its route and its Experiments.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cache, namespace, MODEL_DEPLOYMENTS, EXPERIMENTS)
    answers = _deployments_asked_for(facts, namespace)
    found = {name: fact.value for name, fact in answers.items() if isinstance(fact, Known)}
    held = {**found, **{name_of(item): item for item in cache.all(MODEL_DEPLOYMENTS, namespace)}}
    stored = [item for item in cache.all(EXPERIMENTS, namespace) if item["spec"].get("service") == service]
    virtual_services = cache.all(VIRTUAL_SERVICES, namespace)
    stable = cache.get(SERVICES, namespace, service)
    arms = cache.get(SERVICES, namespace, arms_service(service))
    preview = routes.preview_of(cache.get(SERVICES, namespace, preview_service(service)))
    rule = cache.get(DESTINATION_RULES, namespace, service)
    virtual = cache.get(VIRTUAL_SERVICES, namespace, service)
    mesh = cache.served(VIRTUAL_SERVICES, namespace) and cache.served(DESTINATION_RULES, namespace)

    deployments = {name: ArmTarget(routes.target(item), routes.service_of(item)) for name, item in held.items()}
    targets = routes.targets(held.values(), service)
    roots = routes.roots(virtual_services, service)
    objects = {"stable": stable, "arms": arms, "rule": rule, "virtual": virtual, "preview": preview}
    live = routes.read_live(**objects, mesh=mesh, now=now)
    absent = {name for name, fact in answers.items() if isinstance(fact, Absent)}
    unknown = live.deployments - deployments.keys() - absent
    route = RouteObservation(service, namespace, targets, live, now, roots, unknown, resilience)
    experiments = read_all(stored, route, deployments, facts)
    return ServiceObservation(
        route=route,
        experiments=tuple(item for item in experiments if isinstance(item, Observation)),
        unreadable=tuple(item for item in experiments if isinstance(item, Unreadable)),
    )


def _deployments_asked_for(facts: Facts, namespace: str) -> dict[str, Fact[Object]]:
    """What is known of deployments that the cache had not, by name."""
    return {
        request.name: fact
        for request, fact in facts.gathered.items()
        if isinstance(request, LiveObject) and (request.resource, request.namespace) == (MODEL_DEPLOYMENTS, namespace)
    }
