"""What the snapshot and the facts say of a service and its Experiments, as plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.experiment import ExperimentStatus
from millrace_kube.resources import annotations_of, deleting
from millrace_operators.experiment.needs import deployment_request, needed_by
from millrace_operators.experiment.observation import ArmTarget, Observation, ServiceObservation
from millrace_operators.experiment.snapshot import Snapshot, StoredExperiment
from millrace_operators.facts.fact import Absent, Facts, Known
from millrace_operators.routing.observe import recorded, roots, service_of, target
from millrace_operators.routing.state import RouteObservation


def observe(snapshot: Snapshot, facts: Facts, now: datetime) -> ServiceObservation:
    """The service with its route and its Experiments."""
    asked = {name: facts.get(deployment_request(snapshot.namespace, name)) for name in snapshot.missing}
    found = {name: fact.value for name, fact in asked.items() if isinstance(fact, Known)}
    deployments = {
        **{name: ArmTarget(unknown=not isinstance(fact, Absent)) for name, fact in asked.items()},
        **{name: ArmTarget(target(item), service_of(item)) for name, item in {**snapshot.deployments, **found}.items()},
    }
    route = _observe_route(snapshot, deployments, now)
    experiments = [_observe_experiment(snapshot, item, route, deployments, facts) for item in snapshot.experiments]
    return ServiceObservation(route, tuple(experiments), snapshot.unreadable)


def _observe_route(snapshot: Snapshot, deployments: Mapping[str, ArmTarget], now: datetime) -> RouteObservation:
    found = [item.target for item in deployments.values() if item.target and item.service == snapshot.service]
    return RouteObservation(
        service=snapshot.service,
        namespace=snapshot.namespace,
        targets=sorted(found, key=lambda item: item.age_order),
        live=snapshot.live,
        champion=recorded(snapshot.live.stable),
        now=now,
        roots=roots(snapshot.virtual_services, snapshot.service),
        fight=snapshot.live.fight_ends_at(now) is not None,
        unknown=frozenset(name for name, item in deployments.items() if item.unknown and name in snapshot.routed),
    )


def _observe_experiment(
    snapshot: Snapshot,
    stored: StoredExperiment,
    route: RouteObservation,
    deployments: Mapping[str, ArmTarget],
    facts: Facts,
) -> Observation:
    spec = stored.parsed.spec
    return Observation(
        document=stored.document,
        spec=spec,
        status=stored.parsed.status or ExperimentStatus(),
        arms={arm.name: deployments[arm.deployment] for arm in spec.arms},
        now=route.now,
        command=annotations_of(stored.document).get(COMMAND_ANNOTATION, ""),
        deleting=deleting(stored.document),
        deployments=tuple(target.name for target in route.targets),
        champion=route.champion,
        mesh=route.live.mesh,
        fight=route.fight,
        facts=facts,
        missing=facts.missing(needed_by(snapshot, stored.parsed)),
    )
