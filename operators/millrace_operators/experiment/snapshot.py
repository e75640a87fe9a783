"""What the cache holds of a service at one moment: objects, of which nothing is concluded yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, get_args

from millrace_core.api.base import COMMAND_ANNOTATION
from millrace_core.api.command import recorded
from millrace_core.api.experiment import TERMINAL, Experiment, Phase
from millrace_core.api.loading import load_object
from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.cache import Cache, must_be_served
from millrace_kube.resources import (
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    VIRTUAL_SERVICES,
    Object,
    annotations_of,
    deleting,
    name_of,
)
from millrace_operators.experiment.observation import PENDING, ROUTED, Unreadable
from millrace_operators.routing.observe import live, named_by
from millrace_operators.routing.state import LiveRoute

UNKNOWN_PHASE: Final = "UnknownPhase"


@dataclass(frozen=True)
class StoredExperiment:
    """An Experiment as it is stored, and as it reads."""

    document: Object
    parsed: Experiment


@dataclass(frozen=True)
class Snapshot:
    """A service with all that may belong to it.

    Attributes:
        live: the service's route.
        virtual_services: of the namespace, whoever made them.
        deployments: the ModelDeployments of the namespace, by name.
        routed: names of the deployments that the route or its record names.
        missing: names of deployments that the route, its record or an arm names, and that are not among them.
        experiments: the service's that want a turn: started ones first, then the oldest; finished ones are left out.
        unreadable: those of them that this release cannot read.
    """

    namespace: str
    service: str
    live: LiveRoute
    virtual_services: tuple[Object, ...]
    deployments: Mapping[str, Object]
    experiments: tuple[StoredExperiment, ...]
    unreadable: tuple[Unreadable, ...]
    routed: frozenset[str]
    missing: tuple[str, ...]


def take(cache: Cache, namespace: str, service: str) -> Snapshot:
    """Reads the cache; nothing else of a turn does.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cache, MODEL_DEPLOYMENTS, EXPERIMENTS)
    found = [item for item in cache.all(EXPERIMENTS, namespace) if item["spec"].get("service") == service]
    read = [_read(item) for item in sorted(found, key=_precedence) if not _at_rest(item)]
    experiments = tuple(item for item in read if isinstance(item, StoredExperiment))
    route = live(cache, namespace, service)
    routed = named_by(route)
    deployments = {name_of(item): item for item in cache.all(MODEL_DEPLOYMENTS, namespace)}
    arms = {arm.deployment for item in experiments for arm in item.parsed.spec.arms}
    return Snapshot(
        namespace=namespace,
        service=service,
        live=route,
        virtual_services=tuple(cache.all(VIRTUAL_SERVICES, namespace)),
        deployments=deployments,
        routed=routed,
        missing=tuple(sorted((routed | arms) - deployments.keys())),
        experiments=experiments,
        unreadable=tuple(item for item in read if isinstance(item, Unreadable)),
    )


def _read(document: Object) -> StoredExperiment | Unreadable:
    try:
        parsed = load_object(document)
        if not isinstance(parsed, Experiment):
            raise ReportError(f"{document['kind']} came where an Experiment was expected")
        _must_know_phase(parsed)
    except RejectError as error:
        return Unreadable(document, error)
    return StoredExperiment(document, parsed)


def _must_know_phase(experiment: Experiment) -> None:
    phase = (experiment.status.phase if experiment.status else None) or PENDING
    if phase not in get_args(Phase):
        raise RejectError(
            f"this release of Millrace knows no phase {phase!r}",
            hint="A newer release has brought it there: upgrade the operator",
            field="status.phase",
            reason=UNKNOWN_PHASE,
        )


def _at_rest(document: Object) -> bool:
    """Whether the Experiment is over, with nothing left to say or do."""
    status = document.get("status") or {}
    return (
        status.get("phase") in TERMINAL
        and not deleting(document)
        and status.get("observedGeneration") == document["metadata"]["generation"]
        and (status.get("handledCommand") or "")
        == recorded(annotations_of(document).get(COMMAND_ANNOTATION, status.get("handledCommand") or ""))
    )


def _precedence(document: Object) -> tuple[bool, str, str]:
    started = (document.get("status") or {}).get("phase") in ROUTED
    return not started, document["metadata"].get("creationTimestamp", ""), name_of(document)
