"""One service: its Experiments, each a turn of its state machine, and the route that follows from them.

All Experiments of a service are handled in one reconcile, and the route only here, so no two writers ever disagree.
Intent is written to status first, then the route, then what was seen of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from millrace_core.api import conditions
from millrace_core.api.base import GROUP
from millrace_core.api.experiment import TERMINAL, ExperimentStatus
from millrace_core.base.errors import RejectError
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import EXPERIMENTS, MODEL_DEPLOYMENTS, Object, deleting, name_of, namespace_of, resource_of
from millrace_operators.experiment import status as statuses
from millrace_operators.experiment.acceptance import objection
from millrace_operators.experiment.advance import advance
from millrace_operators.experiment.observe import Scene, asked, candidates, missing_deployments, observe, parse, scene
from millrace_operators.experiment.observed import ROUTED, Observed
from millrace_operators.experiment.policy import wake_at
from millrace_operators.experiment.verdict import Move
from millrace_operators.routing.observe import must_be_served
from millrace_operators.routing.plan import Wanted, plan
from millrace_operators.routing.state import Plan, Split

FINALIZER: Final = f"{GROUP}/experiment"

# Conditions whose turns become Events; the phase has Events of its own, which tell what the others would.
_REPORTED: Final = (conditions.ACCEPTED, conditions.TARGETS_READY, conditions.ROUTE_PROGRAMMED)

# How soon to try again what the API server refused.
_REFUSED_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Turn:
    """An Experiment after its turn."""

    document: Object
    seen: Observed
    status: ExperimentStatus
    split: Split | None


async def reconcile(cluster: CachedClient, key: Key) -> Requeue | None:
    """One turn of the service ``key.name``; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cluster.cache, MODEL_DEPLOYMENTS, EXPERIMENTS)
    await _look_for_missing(cluster, key)
    around = scene(cluster.cache, key.namespace, key.name, cluster.now())
    turns = await _take_turns(cluster, around)
    wish = next((turn.split for turn in turns if turn.split is not None), None)
    wanted = around.wanted(wish)
    planned = plan(wanted, around.live, around.now)
    problem = await _program(cluster, planned)
    if problem is None:
        await _tell(cluster, around, wanted, planned, turns)
    strangers = [root.name for root in around.roots if not root.delegates]
    for turn in turns:
        current = cluster.cache.get(EXPERIMENTS, key.namespace, name_of(turn.document)) or turn.document
        written = statuses.stored(current, turn.status, turn.seen, problem=problem, strangers=strangers)
        await cluster.write_status(current, written, reported=_REPORTED)
        await _release(cluster, turn, planned)
    return _again(around.now, planned, turns, refused=problem is not None)


async def _look_for_missing(cluster: CachedClient, key: Key) -> None:
    """Asks the API server for deployments that the cache lacks though the route or an Experiment names them.

    That one is gone moves traffic for good, so no cache is believed in it.
    """
    for name in missing_deployments(cluster.cache, key.namespace, key.name):
        await cluster.live(MODEL_DEPLOYMENTS, key.namespace, name)


async def _take_turns(cluster: CachedClient, around: Scene) -> list[Turn]:
    """Every Experiment that wants one has its turn; the first that nothing stands against has the service."""
    turns: list[Turn] = []
    holder = ""
    for found in candidates(cluster.cache, around.namespace, around.service):
        document = await _guarded(cluster, found)
        try:
            parsed = parse(document)
        except RejectError as error:
            if not deleting(document):
                await cluster.write_status(document, statuses.rejected(document, error, around.now))
            else:
                await cluster.remove_finalizer(document, FINALIZER)
            continue
        seen = observe(cluster.cache, document, parsed, around, holder)
        status, move = advance(seen)
        await _write_intent(cluster, document, seen, status, move)
        turns.append(Turn(document, seen, status, asked(name_of(document), parsed.spec, status, seen)))
        unfit = status.phase not in ROUTED and (deleting(document) or objection(seen) is not None)
        if not holder and status.phase not in TERMINAL and not unfit:
            holder = name_of(document)
    return turns


async def _guarded(cluster: CachedClient, document: Object) -> Object:
    """The object with its finalizer: from its start on it is not deleted before traffic is back."""
    if await cluster.add_finalizer(document, FINALIZER):
        return cluster.cache.get(EXPERIMENTS, namespace_of(document), name_of(document)) or document
    return document


async def _write_intent(
    cluster: CachedClient, document: Object, seen: Observed, status: ExperimentStatus, move: Move
) -> None:
    """Writes what was decided before anything is done about it, and tells of it once."""
    before = seen.status
    if statuses.fields(status) == statuses.fields(before.model_copy(update={"phase": seen.phase})):
        return
    await cluster.write_status(document, statuses.intent(document, status))
    told = ("phase", "step_index", "handled_command")
    if any(getattr(status, name) != getattr(before, name) for name in told):
        kind = "Warning" if move.warning else "Normal"
        identity = [status.phase, status.step_index, status.handled_command, status.started_at, status.paused_at]
        await cluster.events.emit(document, kind, move.reason, move.message, identity=identity)


async def _program(cluster: CachedClient, planned: Plan) -> RejectError | None:
    """Writes the route. What the API server refuses, or a name that somebody else has, is told, not tried for ever."""
    problem: RejectError | None = None
    for item in planned.apply:
        try:
            await cluster.apply(item)
        except RejectError as error:
            problem = problem or error
    for item in planned.delete:
        await cluster.delete(resource_of(item), namespace_of(item), name_of(item), uid=item["metadata"]["uid"])
    return problem


async def _tell(cluster: CachedClient, around: Scene, wanted: Wanted, planned: Plan, turns: list[Turn]) -> None:
    """Events about the route: a new champion, an edit that was undone."""
    champion, before = wanted.champion.name, around.champion.name
    document = cluster.cache.get(MODEL_DEPLOYMENTS, around.namespace, champion)
    if document is not None and champion != before:
        note = f"{champion} is the champion of {around.service}" + (f", after {before}" if before else "")
        version = ((around.live.stable or {}).get("metadata") or {}).get("resourceVersion", "")
        await cluster.events.emit(document, "Normal", "ChampionChanged", note, identity=["champion", before, version])
    about = next((turn.document for turn in turns if turn.split is not None), document)
    if planned.rewritten and about is not None:
        versions = [item["metadata"].get("resourceVersion", "") for item in around.live.objects()]
        note = f"{' and '.join(planned.rewritten)} was edited by somebody else and has been put right"
        await cluster.events.emit(about, "Warning", "RouteRewritten", note, identity=["rewritten", versions])


async def _release(cluster: CachedClient, turn: Turn, planned: Plan) -> None:
    """Lets a deleted Experiment go once no traffic is split any more and nothing of it is left in the route."""
    if not deleting(turn.document) or turn.status.phase in ROUTED:
        return
    never_started = turn.status.phase not in TERMINAL
    if never_started or planned.settled or not turn.seen.mesh:
        current = cluster.cache.get(EXPERIMENTS, namespace_of(turn.document), name_of(turn.document))
        if current is not None:
            await cluster.remove_finalizer(current, FINALIZER)


def _again(now: datetime, planned: Plan, turns: list[Turn], *, refused: bool) -> Requeue | None:
    times = [planned.again_at, *(wake_at(turn.seen.after(turn.status)) for turn in turns)]
    waits = [max((time - now).total_seconds(), 0.0) for time in times if time is not None]
    if refused:
        waits.append(_REFUSED_SECONDS)
    return Requeue(min(waits)) if waits else None
