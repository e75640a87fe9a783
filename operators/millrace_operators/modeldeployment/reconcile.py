"""One ModelDeployment, brought to what its spec says."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from millrace_core.api import names
from millrace_core.base.errors import RejectError
from millrace_kube.cache import must_be_served
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS
from millrace_kube.resources import (
    CONTROLLER_REVISIONS,
    DESTINATION_RULES,
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    SERVICES,
    VIRTUAL_SERVICES,
    Object,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_kube.writes import carry_out
from millrace_operators.modeldeployment import blue_green
from millrace_operators.modeldeployment.acceptance import objection
from millrace_operators.modeldeployment.blue_green import Commanded, RolloutReport
from millrace_operators.modeldeployment.command import BLUE_GREEN, CommandRequest
from millrace_operators.modeldeployment.deletion import held_by
from millrace_operators.modeldeployment.gate_job import UnknownChampion
from millrace_operators.modeldeployment.gate_runs import read
from millrace_operators.modeldeployment.gates import GateDecision, decide
from millrace_operators.modeldeployment.observe import DeploymentObservation, observe, surroundings
from millrace_operators.modeldeployment.plan import NO_TERMS, RolloutPlan, able_to_serve, plan
from millrace_operators.modeldeployment.pods import Failure
from millrace_operators.modeldeployment.writes import leaving, report, unaccepted, writes
from millrace_operators.platform import Platform
from millrace_operators.routing import observe as routes
from millrace_operators.routing.observe import service_of

# How long until is looked again at a champion of which not everything is known.
_CHAMPION_LOOK: Final = timedelta(seconds=5)
_ROUTE: Final = (SERVICES, DESTINATION_RULES, VIRTUAL_SERVICES)


async def reconcile(cluster: CachedClient, platform: Platform, key: Key) -> Requeue | None:
    """One turn; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cluster.cache, key.namespace, MODEL_DEPLOYMENTS, FEATURE_VIEWS)
    document = cluster.cache.get(MODEL_DEPLOYMENTS, key.namespace, key.name)
    if document is None:
        return None
    if deleting(document):
        await _delete(cluster, document)
        return None
    try:
        observed = observe(cluster.cache, document, platform)
        if not observed.made:
            observed = await _looked_up(cluster, platform, document)
    except RejectError as error:
        await carry_out(cluster, unaccepted(document, error, cluster.now()))
        return None
    foreign = await _foreign(cluster, document)
    problem = objection(
        observed.name,
        observed.spec,
        surroundings(cluster.cache, document, foreign, made=observed.made, lake=bool(platform.lake_uri)),
    )
    now = cluster.now()
    gated = _gated(observed, now, accepted=problem is None)
    commanded = _commanded(observed, now)
    if commanded is not None and commanded.refusal is not None:
        observed = replace(observed, request=CommandRequest(refusal=commanded.refusal))
    target = observed.target.name
    planned = plan(
        observed.target.name,
        observed.revisions,
        observed.recorded,
        observed.spec.bounds,
        pinned=observed.pins,
        routed=observed.routed,
        held=not gated.opens,
        terms=blue_green.terms(commanded, target, observed.recorded, now) if commanded else NO_TERMS,
    )
    rollout = _rollout(observed, planned, commanded, now)
    refused = await carry_out(
        cluster,
        writes(platform, observed, planned, gated, accepted=problem is None),
        lambda refused: report(observed, planned, gated, rollout, problem or refused, cluster.now()),
    )
    # No watch reports a Service of somebody else either.
    waits = [REFUSED_SECONDS] if foreign or refused is not None else []
    wakes = [gated.wake, rollout.wake if rollout else None]
    waits += [max(0.0, (wake - cluster.now()).total_seconds()) for wake in wakes if wake is not None]
    return Requeue(min(waits)) if waits else None


def _commanded(observed: DeploymentObservation, now: datetime) -> Commanded | None:
    """What is remembered of a BlueGreen rollout, and what a command makes of it; None: the strategy is another one."""
    rollout, target = observed.spec.rollout, observed.target.name
    if rollout is None or rollout.strategy != BLUE_GREEN:
        return None
    state = blue_green.current(blue_green.remembered(observed.status), target, now)
    able = able_to_serve(observed.revisions, observed.pins)
    return blue_green.obey(observed.request.verb, rollout, state, target, observed.recorded, able, now)


def _rollout(
    observed: DeploymentObservation, planned: RolloutPlan, commanded: Commanded | None, now: datetime
) -> RolloutReport | None:
    if commanded is None:
        return None
    url = blue_green.preview_url(service_of(observed.document), namespace_of(observed.document))
    return blue_green.report(commanded, planned, observed.recorded, url, now)


def _gated(observed: DeploymentObservation, now: datetime, *, accepted: bool) -> GateDecision:
    """What becomes of the target by its gates. One that is not accepted is not judged before it is made."""
    if observed.judged is not None and not accepted and not observed.made:
        return GateDecision(observed.status.get("gates"), opens=False)
    runs = [read(job, pods, now) for job, pods in observed.gate_jobs]
    gated = decide(observed.judged, observed.status.get("gates") or {}, runs, observed.request, now)
    return _later(observed, gated, now)


def _later(observed: DeploymentObservation, gated: GateDecision, now: datetime) -> GateDecision:
    """The same; a Job that is yet to be made waits until it is known what the champion serves."""
    champion, there = observed.other_model, {name_of(job) for job, _ in observed.gate_jobs}
    if not isinstance(champion, UnknownChampion) or gated.start in {"", *there}:
        return gated
    why = f"its gates compare with the champion {champion.deployment}, whose model is not known just now"
    record = {**(gated.record or {}), "message": why}
    return replace(gated, record=record, failure=Failure("ChampionUnknown", why), wake=now + _CHAMPION_LOOK)


async def _looked_up(cluster: CachedClient, platform: Platform, document: Object) -> DeploymentObservation:
    """What is there, with the revisions as the API server has them: a cache that lags must not make one twice."""
    labels = f"{names.MANAGED_BY}=millrace,{names.DEPLOYMENT}={name_of(document)}"
    found, _ = await cluster.client.list(CONTROLLER_REVISIONS, namespace=namespace_of(document), labels=labels)
    return observe(cluster.cache, document, platform, revisions=found)


async def _foreign(cluster: CachedClient, document: Object) -> list[str]:
    """Services of somebody else under the names that this deployment's service needs."""
    service, namespace = service_of(document), namespace_of(document)
    missing = [
        name for name in (service, names.arms_service(service)) if cluster.cache.get(SERVICES, namespace, name) is None
    ]
    found = await asyncio.gather(*(cluster.client.get(SERVICES, namespace, name) for name in missing))
    return [name_of(item) for item in found if item is not None and labels_of(item).get(names.MANAGED_BY) != "millrace"]


async def _delete(cluster: CachedClient, document: Object) -> None:
    """One step of a deletion. No cache is believed that nothing leads to it, or that nobody could take over."""
    namespace, service = namespace_of(document), service_of(document)
    found = [cluster.cache.get(resource, namespace, service) for resource in _ROUTE]
    held, experiment = _held(cluster, document, found, cluster.cache.all(MODEL_DEPLOYMENTS, namespace))
    if not held:
        found = list(await asyncio.gather(*(cluster.client.get(resource, namespace, service) for resource in _ROUTE)))
        deployments, _ = await cluster.client.list(MODEL_DEPLOYMENTS, namespace)
        held, experiment = _held(cluster, document, found, deployments)
    await carry_out(cluster, leaving(document, held, cluster.now(), experiment=experiment))


def _held(
    cluster: CachedClient, document: Object, route: list[Object | None], deployments: list[Object]
) -> tuple[str, bool]:
    ours = (each if each and labels_of(each).get(names.MANAGED_BY) == "millrace" else None for each in route)
    stable, rule, virtual = ours
    live = routes.read_live(stable=stable, rule=rule, virtual=virtual, now=cluster.now())
    return held_by(name_of(document), live, routes.targets(deployments, service_of(document)))
