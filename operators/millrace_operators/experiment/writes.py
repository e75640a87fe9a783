"""What is written of a decision about a service, in order. Pure.

Intent is written to status first, then the route; the report, the conditions of both, follows once it is known what
was refused. So a turn that ends in the middle is taken up by the next one, which follows from status and route alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict
from millrace_core.api.experiment import ExperimentStatus
from millrace_core.api.group import GROUP
from millrace_core.base.errors import MillraceError
from millrace_kube.errors import ApiError
from millrace_kube.events import Emit
from millrace_kube.resources import (
    DESTINATION_RULES,
    MODEL_DEPLOYMENTS,
    VIRTUAL_SERVICES,
    Object,
    name_of,
    namespace_of,
    resource_of,
)
from millrace_kube.writes import AddFinalizer, Apply, Delete, InOrder, RemoveFinalizer, Write, WriteStatus
from millrace_operators.experiment import status as statuses
from millrace_operators.experiment.confirmation import REVISION_CHANGED, STEPS_CHANGED
from millrace_operators.experiment.decision import Decision, ServiceDecision
from millrace_operators.experiment.observation import Unreadable
from millrace_operators.experiment.types import type_of
from millrace_operators.routing.state import RouteObservation

FINALIZER: Final = f"{GROUP}/experiment"

# Conditions whose turns become Events; the phase has Events of its own, which tell what the others would.
_REPORTED: Final = (
    conditions.ACCEPTED,
    conditions.TARGETS_READY,
    conditions.ROUTE_PROGRAMMED,
    conditions.FACTS_AVAILABLE,
    conditions.METRICS_AVAILABLE,
    conditions.SAMPLE_RATIO_OK,
    conditions.GUARDRAILS_OK,
)


def writes(decision: ServiceDecision) -> list[Write]:
    """Everything but the report."""
    return [
        *(write for item in decision.experiments for write in _intent(item)),
        *_route(decision),
    ]


def report(decision: ServiceDecision, refused: MillraceError | None) -> list[Write]:
    """Conditions and Events, once the route is written; ``refused``: the first refusal of an object of it."""
    return [
        *_route_refused(decision, refused),
        *(write for item in decision.experiments for write in _outcome(item, decision.route, refused)),
        *(write for item in decision.unreadable for write in _of_unreadable(item, decision)),
    ]


def _of_unreadable(item: Unreadable, decision: ServiceDecision) -> list[Write]:
    if not item.deleting:
        said = _settled(item.document, statuses.rejected(item), decision.route.now)
        return [WriteStatus(item.document, {**(item.document.get("status") or {}), **said})]
    back = decision.changes.settled or not item.routed or not decision.route.live.mesh
    return [RemoveFinalizer(item.document, FINALIZER)] if back else []


def _intent(decision: Decision) -> list[Write]:
    """What was decided, before anything is done about it, with one Event.

    From its start on an Experiment has the finalizer: it is not deleted before traffic is back.
    """
    observation, status, verdict = decision.observation, decision.status, decision.verdict
    document, before = observation.document, observation.status
    guard = AddFinalizer(document, FINALIZER)
    if status == before.model_copy(update={"phase": observation.phase}):
        return [guard]
    told = [*_edited_ramp(decision), *_new_revisions(decision)]
    reported = ("phase", "step_index", "handled_command")
    moved = status.bandit if _weighed(status) != _weighed(before) else None
    if moved or any(getattr(status, name) != getattr(before, name) for name in reported):
        kind = "Warning" if verdict.warning else "Normal"
        identity = [status.phase, status.step_index, status.handled_command, status.started_at, status.paused_at]
        identity += [moved.number] if moved else []
        told.append(Emit(document, kind, verdict.reason, verdict.message, identity))
    return [guard, WriteStatus(document, _intended(document, status), events=tuple(told))]


def _weighed(status: ExperimentStatus) -> dict[str, int] | None:
    return status.bandit.weights if status.bandit else None


def _intended(document: Object, status: ExperimentStatus) -> dict[str, Any]:
    """The status with what was decided, and the conditions of before: the new ones follow after the work."""
    before = _conditions(document)
    return _fields(status) | ({"conditions": before} if before else {})


def _fields(status: ExperimentStatus) -> dict[str, Any]:
    """All but the conditions, as JSON."""
    return status.model_dump(by_alias=True, exclude_none=True, exclude={"conditions"})


def _conditions(document: Object) -> list[ConditionDict] | None:
    return (document.get("status") or {}).get("conditions")


def _settled(document: Object, current: Sequence[ConditionDict], now: datetime) -> dict[str, Any]:
    """What a status says of itself: the generation on which it was decided, and the conditions, since when."""
    generation = document["metadata"]["generation"]
    settled = conditions.settle(_conditions(document), current, generation=generation, now=now)
    return {"observedGeneration": generation, "conditions": settled}


def _edited_ramp(decision: Decision) -> list[Emit]:
    document, status = decision.observation.document, decision.status
    if not decision.edited:
        return []
    left = (status.steps or [])[(status.step_index or 0) + 1 :]
    ahead = ", ".join(f"{step.weight}% for {step.hold}" for step in left)
    winner = type_of(decision.observation.spec.type).winner_of_ramp(decision.observation)
    end = f". {winner} is promoted after the last step" if winner else ""
    note = f"the steps still ahead were changed; now they are: {ahead or 'none'}{end}"
    return [Emit(document, "Normal", STEPS_CHANGED, note, ["steps", document["metadata"]["generation"]])]


def _new_revisions(decision: Decision) -> list[Emit]:
    """Arms that serve from another revision than in the epoch before."""
    before, after = decision.observation.status.epochs or [], decision.status.epochs or []
    if not before or not after:
        return []
    old, new = before[-1].revisions or {}, after[-1].revisions or {}
    changed = [f"{arm} from {old[arm]} to {new[arm]}" for arm in new if arm in old and old[arm] != new[arm]]
    if not changed:
        return []
    note = f"an arm has another revision, so an epoch begins: {', '.join(changed)}"
    return [Emit(decision.observation.document, "Normal", REVISION_CHANGED, note, ["revisions", after[-1].start])]


def _route(decision: ServiceDecision) -> list[Write]:
    """The route; a VirtualService may name subsets that only the DestinationRule before it makes."""
    changes, mesh = decision.changes, (DESTINATION_RULES.kind, VIRTUAL_SERVICES.kind)
    apart = [Apply(item, _champion_changed(decision, item)) for item in changes.apply if item["kind"] not in mesh]
    together = tuple(Apply(item, _rewritten(decision, item)) for item in changes.apply if item["kind"] in mesh)
    gone = [
        Delete(resource_of(item), namespace_of(item), name_of(item), item["metadata"]["uid"]) for item in changes.delete
    ]
    return [*apart, InOrder(together), *gone]


def _outcome(decision: Decision, route: RouteObservation, refused: MillraceError | None) -> list[Write]:
    document = decision.observation.document
    current = statuses.current(_conditions(document), decision, refused, route.undelegated)
    status = _fields(decision.status) | _settled(document, current, route.now)
    release = [RemoveFinalizer(document, FINALIZER)] if decision.release else []
    return [WriteStatus(document, status, reported=_REPORTED), *release]


def _route_refused(decision: ServiceDecision, refused: MillraceError | None) -> list[Write]:
    """A refusal that no Experiment has a condition for."""
    champion = _champion(decision)
    if champion is None or decision.experiments or not isinstance(refused, ApiError):
        return []
    note = f"the route of {decision.route.service} could not be written: {refused}"
    return [Emit(champion, "Warning", refused.reason, note, identity=["route refused", str(refused)])]


def _champion_changed(decision: ServiceDecision, service: Object) -> tuple[Emit, ...]:
    """With the stable Service, which records the champion."""
    route, champion, before = decision.route, decision.champion.name, decision.route.live.champion.name
    about = _champion(decision)
    if about is None or champion == before or name_of(service) != route.service:
        return ()
    note = f"{champion} is the champion of {route.service}" + (f", after {before}" if before else "")
    version = ((route.live.stable or {}).get("metadata") or {}).get("resourceVersion", "")
    return (Emit(about, "Normal", "ChampionChanged", note, identity=["champion", before, version]),)


def _rewritten(decision: ServiceDecision, item: Object) -> tuple[Emit, ...]:
    """Of an object of the route that somebody edited: at the Experiment that has the route, else at the champion."""
    what = f"{item['kind']} {name_of(item)}"
    splitting = (one.observation.document for one in decision.experiments if one.split is not None)
    about = next(splitting, _champion(decision))
    if what not in decision.changes.rewritten or about is None:
        return ()
    versions = [held["metadata"].get("resourceVersion", "") for held in decision.route.live.objects]
    note = f"{what} was edited by somebody else and has been put right"
    return (Emit(about, "Warning", "RouteRewritten", note, identity=["rewritten", what, versions]),)


def _champion(decision: ServiceDecision) -> Object | None:
    """The champion, as far as an Event has to know it."""
    found = next((item for item in decision.route.targets if item.name == decision.champion.name), None)
    if found is None:
        return None
    place = {"namespace": decision.route.namespace, "name": found.name, "uid": found.uid}
    return MODEL_DEPLOYMENTS.typed({"metadata": place})
