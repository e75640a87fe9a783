"""A service as it is at one moment: what the cache holds of it, which facts it lacks, and what both say, as values.

``take`` reads the cache, and nothing else of a turn does; ``observe`` adds the facts that the snapshot needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, get_args

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.command import unhandled
from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentStatus, Phase
from millrace_core.api.loading import load_object
from millrace_core.api.names import arms_service
from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.cache import Cache, must_be_served
from millrace_kube.resources import (
    DESTINATION_RULES,
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    annotations_of,
    deleting,
    name_of,
)
from millrace_operators.experiment.observation import (
    PENDING,
    ROUTED,
    ArmTarget,
    Observation,
    ServiceObservation,
    Unreadable,
)
from millrace_operators.experiment.types import type_of
from millrace_operators.facts.fact import Absent, FactRequest, Facts, Known
from millrace_operators.facts.live_objects import LiveObject
from millrace_operators.routing import observe as routes
from millrace_operators.routing.state import LiveRoute, RouteObservation

UNKNOWN_PHASE: Final = "UnknownPhase"

Requests = tuple[FactRequest[Any], ...]


@dataclass(frozen=True)
class StoredExperiment:
    """An Experiment as it is stored and as it reads; ``asked`` is what its type has to know."""

    document: Object
    parsed: Experiment
    asked: Requests


@dataclass(frozen=True)
class Snapshot:
    """A service with all that may belong to it.

    Attributes:
        live: the service's route.
        virtual_services: of the namespace, whoever made them.
        deployments: the ModelDeployments of the namespace, by name.
        experiments: the service's that want a turn: started ones first, then the oldest; finished ones are left out.
        unreadable: those of them that this release cannot read.
        missing: names of deployments that the route, its record or an arm has and the cache has not, each with the
            question whether it exists: that one is gone moves traffic for good, so no cache is believed in it.
    """

    namespace: str
    service: str
    now: datetime
    live: LiveRoute
    virtual_services: tuple[Object, ...]
    deployments: Mapping[str, Object]
    experiments: tuple[StoredExperiment, ...]
    unreadable: tuple[Unreadable, ...]
    missing: Mapping[str, FactRequest[Object]]

    @property
    def needs(self) -> Requests:
        """The facts without which nothing is decided about the service."""
        return (*self.missing.values(), *(request for item in self.experiments for request in item.asked))

    def needs_of(self, item: StoredExperiment) -> Requests:
        """Those of one Experiment."""
        arms = [arm.deployment for arm in item.parsed.spec.arms]
        return (*(self.missing[name] for name in arms if name in self.missing), *item.asked)


def take(cache: Cache, namespace: str, service: str, now: datetime) -> Snapshot:
    """What the cache holds now.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cache, namespace, MODEL_DEPLOYMENTS, EXPERIMENTS)
    deployments = {name_of(item): item for item in cache.all(MODEL_DEPLOYMENTS, namespace)}
    virtual_services = tuple(cache.all(VIRTUAL_SERVICES, namespace))
    stored = [item for item in cache.all(EXPERIMENTS, namespace) if item["spec"].get("service") == service]
    stable = cache.get(SERVICES, namespace, service)
    arms = cache.get(SERVICES, namespace, arms_service(service))
    rule = cache.get(DESTINATION_RULES, namespace, service)
    virtual = cache.get(VIRTUAL_SERVICES, namespace, service)
    mesh = cache.served(VIRTUAL_SERVICES, namespace) and cache.served(DESTINATION_RULES, namespace)
    live = routes.read_live(stable=stable, arms=arms, rule=rule, virtual=virtual, mesh=mesh, now=now)
    read = [_read(item) for item in sorted(stored, key=_precedence) if not _at_rest(item)]
    experiments = tuple(item for item in read if isinstance(item, StoredExperiment))
    named = live.deployments.union(arm.deployment for item in experiments for arm in item.parsed.spec.arms)
    missing = sorted(named - deployments.keys())
    return Snapshot(
        namespace=namespace,
        service=service,
        now=now,
        live=live,
        virtual_services=virtual_services,
        deployments=deployments,
        experiments=experiments,
        unreadable=tuple(item for item in read if isinstance(item, Unreadable)),
        missing={name: LiveObject(MODEL_DEPLOYMENTS, namespace, name) for name in missing},
    )


def _precedence(document: Object) -> tuple[bool, str, str]:
    started = (document.get("status") or {}).get("phase") in ROUTED
    return not started, document["metadata"].get("creationTimestamp", ""), name_of(document)


def _at_rest(document: Object) -> bool:
    """Whether the Experiment is over, with nothing left to say or do."""
    status = document.get("status") or {}
    return (
        status.get("phase") in TERMINAL
        and not deleting(document)
        and status.get("observedGeneration") == document["metadata"]["generation"]
        and not unhandled(annotations_of(document).get(COMMAND_ANNOTATION, ""), status.get("handledCommand"))
    )


def _read(document: Object) -> StoredExperiment | Unreadable:
    try:
        parsed = load_object(document)
        if not isinstance(parsed, Experiment):
            raise ReportError(f"{document['kind']} came where an Experiment was expected")
        _must_know_phase(parsed)
    except RejectError as error:
        return Unreadable(document, error)
    return StoredExperiment(document, parsed, tuple(type_of(parsed.spec.type).facts(parsed)))


def _must_know_phase(experiment: Experiment) -> None:
    phase = (experiment.status.phase if experiment.status else None) or PENDING
    if phase not in get_args(Phase):
        raise RejectError(
            f"this release of Millrace knows no phase {phase!r}",
            hint="A newer release has brought it there: upgrade the operator",
            field="status.phase",
            reason=UNKNOWN_PHASE,
        )


def observe(snapshot: Snapshot, facts: Facts) -> ServiceObservation:
    """The service with its route and its Experiments. Pure."""
    answers = {name: facts.get(request) for name, request in snapshot.missing.items()}
    unanswered = facts.missing(snapshot.needs)
    unknown = frozenset(name for name, fact in answers.items() if not isinstance(fact, Known | Absent))
    found = {name: fact.value for name, fact in answers.items() if isinstance(fact, Known)}
    deployments = {**snapshot.deployments, **found}
    targets = {name: ArmTarget(routes.target(item), routes.service_of(item)) for name, item in deployments.items()}
    route = RouteObservation(
        service=snapshot.service,
        namespace=snapshot.namespace,
        targets=routes.targets(deployments.values(), snapshot.service),
        live=snapshot.live,
        now=snapshot.now,
        roots=routes.roots(snapshot.virtual_services, snapshot.service),
        unknown=snapshot.live.deployments & unknown,
    )
    arms = {**{name: ArmTarget(unknown=name in unknown) for name in snapshot.missing}, **targets}
    experiments = tuple(
        replace(
            _observe_experiment(item, route, arms),
            facts=facts,
            missing={request: unanswered[request] for request in snapshot.needs_of(item) if request in unanswered},
        )
        for item in snapshot.experiments
    )
    return ServiceObservation(route, experiments, snapshot.unreadable)


def _observe_experiment(
    stored: StoredExperiment, route: RouteObservation, deployments: Mapping[str, ArmTarget]
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
        champion=route.live.champion,
        mesh=route.live.mesh,
        fight=route.live.calm_at is not None,
    )
