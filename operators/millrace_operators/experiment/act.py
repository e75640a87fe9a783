"""What was decided about a service, carried out.

Intent is written to status first, then the route, then the conditions of both. So a turn that ends in the middle is
taken up by the next one, which follows from status and route alone.
"""

from __future__ import annotations

from typing import Final

from millrace_core.api import conditions
from millrace_core.api.base import GROUP
from millrace_core.base.errors import MillraceError
from millrace_kube.cached_client import CachedClient
from millrace_kube.errors import ApiError, ConflictError
from millrace_kube.refusals import Refusals
from millrace_kube.resources import (
    DESTINATION_RULES,
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    VIRTUAL_SERVICES,
    Object,
    deleting,
    name_of,
    namespace_of,
    resource_of,
)
from millrace_operators.experiment import status as statuses
from millrace_operators.experiment.decide import Decision, ServiceDecision
from millrace_operators.routing.state import RouteChanges

FINALIZER: Final = f"{GROUP}/experiment"

# Conditions whose turns become Events; the phase has Events of its own, which tell what the others would.
_REPORTED: Final = (
    conditions.ACCEPTED,
    conditions.TARGETS_READY,
    conditions.ROUTE_PROGRAMMED,
    conditions.FACTS_AVAILABLE,
)


async def act(cluster: CachedClient, decision: ServiceDecision) -> MillraceError | None:
    """Writes everything; gives the first refusal of an object of the route."""
    for unreadable in decision.unreadable:
        if deleting(unreadable.document):
            await cluster.remove_finalizer(unreadable.document, FINALIZER)
        else:
            written = statuses.rejected(unreadable.document, unreadable.error, decision.route.now)
            await cluster.write_status(unreadable.document, written)
    for experiment in decision.experiments:
        await _write_intent(cluster, experiment)
    refused = await _write_route(cluster, decision.changes)
    if refused is None:
        await _report_route(cluster, decision)
    elif isinstance(refused, ApiError) and not decision.experiments:
        await _report_refusal(cluster, decision, refused)
    for experiment in decision.experiments:
        written = statuses.stored(experiment, refused=refused, undelegated=decision.route.undelegated)
        await cluster.write_status(_newest(cluster, experiment), written, reported=_REPORTED)
        if experiment.release:
            await cluster.remove_finalizer(_newest(cluster, experiment), FINALIZER)
    return refused


async def _write_intent(cluster: CachedClient, decision: Decision) -> None:
    """Writes what was decided before anything is done about it, with one Event.

    From its start on an Experiment has the finalizer: it is not deleted before traffic is back.
    """
    observation, status, verdict = decision.observation, decision.status, decision.verdict
    await cluster.add_finalizer(observation.document, FINALIZER)
    before = observation.status
    if statuses.fields(status) == statuses.fields(before.model_copy(update={"phase": observation.phase})):
        return
    document = _newest(cluster, decision)
    await cluster.write_status(document, statuses.intent(document, status))
    reported = ("phase", "step_index", "handled_command")
    if any(getattr(status, name) != getattr(before, name) for name in reported):
        kind = "Warning" if verdict.warning else "Normal"
        identity = [status.phase, status.step_index, status.handled_command, status.started_at, status.paused_at]
        await cluster.events.emit(document, kind, verdict.reason, verdict.message, identity=identity)


async def _write_route(cluster: CachedClient, changes: RouteChanges) -> MillraceError | None:
    """Writes the route; gives the first refusal: by the API server, or because somebody else has the name."""
    refusals, written = Refusals(), set[str]()
    kinds = {item["kind"] for item in changes.apply}
    for item in changes.apply:
        if item["kind"] == VIRTUAL_SERVICES.kind and DESTINATION_RULES.kind in kinds - written:
            continue  # it may name subsets that only the refused one would have made
        with refusals.noted():
            await cluster.apply(item)
            written.add(item["kind"])
    for item in changes.delete:
        with refusals.noted():
            await cluster.delete(resource_of(item), namespace_of(item), name_of(item), uid=item["metadata"]["uid"])
    return refusals.first


async def _report_route(cluster: CachedClient, decision: ServiceDecision) -> None:
    """Events about the route: a new champion, an edit that was undone."""
    route, champion, before = decision.route, decision.champion.name, decision.route.champion.name
    document = cluster.cache.get(MODEL_DEPLOYMENTS, route.namespace, champion)
    if document is not None and champion != before:
        note = f"{champion} is the champion of {route.service}" + (f", after {before}" if before else "")
        version = ((route.live.stable or {}).get("metadata") or {}).get("resourceVersion", "")
        await cluster.events.emit(document, "Normal", "ChampionChanged", note, identity=["champion", before, version])
    splitting = (item.observation.document for item in decision.experiments if item.split is not None)
    about, rewritten = next(splitting, document), decision.changes.rewritten
    if rewritten and about is not None:
        versions = [item["metadata"].get("resourceVersion", "") for item in route.live.objects]
        note = f"{' and '.join(rewritten)} was edited by somebody else and has been put right"
        await cluster.events.emit(about, "Warning", "RouteRewritten", note, identity=["rewritten", versions])


async def _report_refusal(cluster: CachedClient, decision: ServiceDecision, refused: MillraceError) -> None:
    """An Event at the champion, because a service without an Experiment has no condition about its route."""
    document = cluster.cache.get(MODEL_DEPLOYMENTS, decision.route.namespace, decision.champion.name)
    if document is not None:
        note = f"the route of {decision.route.service} could not be written: {refused}"
        await cluster.events.emit(document, "Warning", refused.reason, note, identity=["route refused", str(refused)])


def _newest(cluster: CachedClient, decision: Decision) -> Object:
    """The Experiment as the cache holds it after our own writes.

    Raises:
        ConflictError: another object has taken its name meanwhile; what was decided is not about that one.
    """
    document = decision.observation.document
    held = cluster.cache.get(EXPERIMENTS, namespace_of(document), name_of(document))
    if held is not None and held["metadata"]["uid"] != document["metadata"]["uid"]:
        raise ConflictError(f"the Experiment {name_of(document)} was replaced by another of its name", status=409)
    return held or document
