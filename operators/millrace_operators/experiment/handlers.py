"""The control loop of services: their Experiments and their routes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Final

from millrace_core.api import names
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import (
    DESTINATION_RULES,
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    Resource,
    labels_of,
    namespace_of,
)
from millrace_kube.runtime import Controller, Mapper, by_label
from millrace_operators.experiment.reconcile import reconcile
from millrace_operators.facts import sources
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.platform import Platform
from millrace_operators.routing.observe import service_of, services_of_route

CONTROLLER: Final = "service"


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """One key for each service."""
    watches: dict[Resource, Mapper] = {
        EXPERIMENTS: _of_experiment,
        MODEL_DEPLOYMENTS: _of_deployment,
        SERVICES: by_label(names.SERVICE),
        DESTINATION_RULES: by_label(names.SERVICE),
        VIRTUAL_SERVICES: _of_route,
    }
    facts = FactGatherer(
        sources(cluster, platform.gateway_url, platform.prometheus_url, platform.bearer), clock=cluster.now
    )
    return [Controller(CONTROLLER, partial(reconcile, cluster, facts, platform.resilience), watches)]


def _of_experiment(document: Object) -> Iterable[tuple[str, str]]:
    return [(namespace_of(document), document["spec"]["service"])]


def _of_deployment(document: Object) -> Iterable[tuple[str, str]]:
    return [(namespace_of(document), service_of(document))]


def _of_route(document: Object) -> Iterable[tuple[str, str]]:
    """The service that it was made for, and those whose host it claims."""
    made_for = labels_of(document).get(names.SERVICE)
    services = services_of_route(document) | ({made_for} if made_for else set())
    return [(namespace_of(document), service) for service in services]
