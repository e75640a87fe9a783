"""Which facts a decision about a service needs, because the cache does not hold them. Pure."""

from __future__ import annotations

from typing import Any

from millrace_core.api.experiment import Experiment
from millrace_kube.resources import MODEL_DEPLOYMENTS
from millrace_operators.experiment.snapshot import Snapshot
from millrace_operators.experiment.types import type_of
from millrace_operators.facts.fact import FactRequest
from millrace_operators.facts.live_objects import LiveObject

Requests = list[FactRequest[Any]]


def needed(snapshot: Snapshot) -> Requests:
    """The facts without which nothing is decided about the service."""
    deployments: Requests = [deployment_request(snapshot.namespace, name) for name in snapshot.missing]
    return [*deployments, *(request for item in snapshot.experiments for request in needed_by(snapshot, item.parsed))]


def needed_by(snapshot: Snapshot, experiment: Experiment) -> Requests:
    """What one Experiment needs: deployments that the cache lacks, and what its type asks for."""
    arms = [arm.deployment for arm in experiment.spec.arms if arm.deployment in snapshot.missing]
    return [
        *(deployment_request(snapshot.namespace, name) for name in arms),
        *type_of(experiment.spec.type).facts(experiment),
    ]


def deployment_request(namespace: str, name: str) -> LiveObject:
    """Asks for a deployment that the cache lacks: that one is gone moves traffic for good, so no cache is believed."""
    return LiveObject(MODEL_DEPLOYMENTS, namespace, name)
