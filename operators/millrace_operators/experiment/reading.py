"""Experiments as they are stored, read into what a decision about them depends on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from millrace_core.api.command import unhandled
from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentStatus, Phase
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.api.models import load
from millrace_core.base.errors import RejectError
from millrace_kube.resources import MODEL_DEPLOYMENTS, Object, annotations_of, deleting, name_of
from millrace_operators.experiment.looks import fact_requests
from millrace_operators.experiment.observation import PENDING, ROUTED, ArmTarget, Observation, Unreadable
from millrace_operators.experiment.types import type_of
from millrace_operators.facts.fact import FactRequest, Facts
from millrace_operators.facts.live_objects import LiveObject
from millrace_operators.routing.state import RouteObservation

UNKNOWN_PHASE: Final = "UnknownPhase"


def read_all(
    documents: Iterable[Object], route: RouteObservation, deployments: Mapping[str, ArmTarget], facts: Facts
) -> list[Observation | Unreadable]:
    """Those that want a turn: started ones first, then the oldest; finished ones are left out.

    Args:
        route: of their service.
        deployments: all that there are in the namespace, by name. Of one that is not among them the facts say whether
            it exists, because that it is gone moves traffic for good, and no cache is believed in it.
    """
    read = [_read(item, route, deployments, facts) for item in sorted(documents, key=_precedence)]
    return [item for item in read if item is not None]


def _at_rest(document: Object) -> bool:
    """Whether the Experiment is over, with nothing left to say or do."""
    status = document.get("status") or {}
    return (
        status.get("phase") in TERMINAL
        and not deleting(document)
        and status.get("observedGeneration") == document["metadata"]["generation"]
        and not unhandled(annotations_of(document).get(COMMAND_ANNOTATION, ""), status.get("handledCommand"))
    )


def _precedence(document: Object) -> tuple[bool, str, str]:
    started = (document.get("status") or {}).get("phase") in ROUTED
    return not started, document["metadata"].get("creationTimestamp", ""), name_of(document)


def _must_know_phase(document: Object) -> None:
    phase = (document.get("status") or {}).get("phase") or PENDING
    if phase not in get_args(Phase):
        raise RejectError(
            f"this release of Millrace knows no phase {phase!r}",
            hint="A newer release has brought it there: upgrade the operator",
            field="status.phase",
            reason=UNKNOWN_PHASE,
        )


def _read(
    document: Object, route: RouteObservation, deployments: Mapping[str, ArmTarget], facts: Facts
) -> Observation | Unreadable | None:
    if _at_rest(document):
        return None
    try:
        _must_know_phase(document)
        parsed = load(Experiment, document)
    except RejectError as error:
        return Unreadable(document, error)
    spec, status = parsed.spec, parsed.status or ExperimentStatus()
    gone = {
        arm.deployment: LiveObject(MODEL_DEPLOYMENTS, route.namespace, arm.deployment)
        for arm in spec.arms
        if arm.deployment not in deployments
    }
    needed: list[FactRequest[Any]] = [*gone.values(), *type_of(spec.type).facts(parsed)]
    missing = facts.missing(needed)
    absent = {name: ArmTarget(unknown=request in missing) for name, request in gone.items()}
    observation = Observation(
        document=document,
        spec=spec,
        status=status,
        arms={arm.name: {**deployments, **absent}[arm.deployment] for arm in spec.arms},
        now=route.now,
        command=annotations_of(document).get(COMMAND_ANNOTATION, ""),
        deleting=deleting(document),
        deployments=tuple(target.name for target in route.targets),
        champion=route.live.champion,
        mesh=route.live.mesh,
        fight=route.live.calm_at is not None,
        facts=facts,
        missing=missing,
    )
    return replace(observation, looks=tuple(fact_requests(observation).values()))
