"""Which facts a decision about a service needs, because the cache does not hold them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_operators.experiment.observation import Observation, ServiceObservation
from millrace_operators.experiment.types import type_of
from millrace_operators.facts.fact import Fact, FactRequest
from millrace_operators.routing.observe import deployment_request

Requests = list[FactRequest[Any]]


def needed(service: ServiceObservation) -> Requests:
    """The facts without which nothing is decided about the service."""
    of_route: Requests = [deployment_request(service.route.namespace, name) for name in sorted(service.route.missing)]
    return [*of_route, *(request for item in service.experiments for request in needed_by(item))]


def needed_by(observation: Observation) -> Requests:
    """What one Experiment needs: deployments that the cache lacks, and what its type asks for."""
    arms = [arm.deployment for arm in observation.spec.arms if observation.arms[arm.name].target is None]
    return [
        *(deployment_request(observation.namespace, name) for name in arms),
        *type_of(observation.spec.type).facts(observation),
    ]


def missing_facts(observation: Observation) -> Mapping[FactRequest[Any], Fact[Any]]:
    """Those of them that nobody answered."""
    return observation.facts.missing(needed_by(observation))
