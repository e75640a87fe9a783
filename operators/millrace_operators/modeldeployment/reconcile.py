"""One ModelDeployment, brought to what its spec says."""

from __future__ import annotations

import asyncio
from typing import Final

from millrace_core.api import conditions, names
from millrace_core.api.base import GROUP
from millrace_core.base.errors import RejectError
from millrace_kube.cached_client import CachedClient
from millrace_kube.platform import Platform
from millrace_kube.queue import Key, Requeue
from millrace_kube.resources import (
    DEPLOYMENTS,
    FEATURE_VIEWS,
    HORIZONTAL_POD_AUTOSCALERS,
    MODEL_DEPLOYMENTS,
    SCALED_OBJECTS,
    SERVICES,
    Object,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.modeldeployment import desired, scaler
from millrace_operators.modeldeployment.acceptance import objection
from millrace_operators.modeldeployment.departure import held_by
from millrace_operators.modeldeployment.observe import Observed, observe, surroundings
from millrace_operators.modeldeployment.plan import Plan, plan
from millrace_operators.modeldeployment.status import rejected, status
from millrace_operators.routing import observe as routes
from millrace_operators.routing.observe import service_of

FINALIZER: Final = f"{GROUP}/route"

# How soon to look again at what no watch tells: a Service of somebody else, a refusal of the API server.
_REFUSED_SECONDS: Final = 30.0


async def reconcile(cluster: CachedClient, platform: Platform, key: Key) -> Requeue | None:
    """One turn; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    routes.must_be_served(cluster.cache, MODEL_DEPLOYMENTS, FEATURE_VIEWS)
    document = cluster.cache.get(MODEL_DEPLOYMENTS, key.namespace, key.name)
    if document is None:
        return None
    if deleting(document):
        return await _leave(cluster, document)
    if await cluster.add_finalizer(document, FINALIZER):
        document = cluster.cache.get(MODEL_DEPLOYMENTS, key.namespace, key.name) or document
    try:
        seen = observe(cluster.cache, document, platform)
    except RejectError as error:
        await cluster.write_status(document, rejected(document, error, cluster.now()))
        return None
    foreign = await _foreign(cluster, document)
    problem = objection(seen.name, seen.spec, surroundings(cluster.cache, document, foreign))
    planned = plan(seen.target, seen.revisions, seen.recorded, seen.spec.scaling, routed=seen.routed)
    refused = await _act(cluster, platform, seen, planned, accepted=problem is None)
    problem = problem or refused
    written = await cluster.write_status(document, status(seen, planned, problem, cluster.now()))
    if written and planned.switched:
        note = f"{planned.active} is ready and serves"
        identity = ["active", planned.active, document["metadata"]["generation"]]
        await cluster.events.emit(document, "Normal", "RevisionActive", note, identity=identity)
    return Requeue(_REFUSED_SECONDS) if foreign or refused is not None else None


async def _act(
    cluster: CachedClient, platform: Platform, seen: Observed, planned: Plan, *, accepted: bool
) -> RejectError | None:
    """Writes the children; gives the first refusal. What is refused keeps nothing else from being done."""
    children = _children(platform, seen, planned, accepted=accepted)
    kinds = {child["kind"] for child in children}
    for scalers in (SCALED_OBJECTS, HORIZONTAL_POD_AUTOSCALERS):
        held = cluster.cache.get(scalers, namespace_of(seen.document), seen.name)
        if held is not None and held["kind"] not in kinds:  # before another is made: two would pull at one number
            await cluster.delete(scalers, namespace_of(held), name_of(held))
    refused: RejectError | None = None
    for child in children:
        try:
            await cluster.apply(child)
        except RejectError as error:
            refused = refused or error
    for revision in planned.delete:
        await cluster.delete(DEPLOYMENTS, namespace_of(seen.document), revision)
    return refused


def _children(platform: Platform, seen: Observed, planned: Plan, *, accepted: bool) -> list[Object]:
    """The children as they should be. Without acceptance no new revision is made, and what exists is kept true."""
    children: list[Object] = []
    owner, exists = seen.document, planned.target in seen.deployments
    if accepted or exists:
        children.append(
            desired.deployment(owner, planned.target, seen.template, device=seen.device, replicas=planned.replicas)
        )
        children.append(desired.disruption_budget(owner, seen.spec))
        if seen.monitors:
            children.append(desired.service_monitor(owner, seen.spec))
    if accepted or exists or planned.active:
        revision = planned.active or planned.target
        wanted = scaler.scaler(owner, seen.spec, revision, platform.prometheus_url, keda=seen.keda)
        children += [wanted] if wanted else []
    return children


async def _foreign(cluster: CachedClient, document: Object) -> list[str]:
    """Services of somebody else under the names that this deployment's service needs."""
    service, namespace = service_of(document), namespace_of(document)
    missing = [
        name for name in (service, names.arms_service(service)) if cluster.cache.get(SERVICES, namespace, name) is None
    ]
    found = await asyncio.gather(*(cluster.client.get(SERVICES, namespace, name) for name in missing))
    return [name_of(item) for item in found if item is not None and labels_of(item).get(names.MANAGED_BY) != "millrace"]


async def _leave(cluster: CachedClient, document: Object) -> Requeue | None:
    """Lets the object go once no traffic needs it; its children follow it by their owner references."""
    if FINALIZER not in (document["metadata"].get("finalizers") or []):
        return None
    namespace, service = namespace_of(document), service_of(document)
    live = routes.live(cluster.cache, namespace, service)
    held, experiment = held_by(name_of(document), live, routes.targets(cluster.cache, namespace, service))
    if not held:
        await cluster.remove_finalizer(document, FINALIZER)
        return None
    before, generation = document.get("status") or {}, document["metadata"]["generation"]
    kept = [item for item in before.get("conditions") or () if item["type"] != conditions.READY]
    leaving = conditions.condition(conditions.READY, False, conditions.DELETING, held)
    settled = conditions.settle(before.get("conditions"), [*kept, leaving], generation=generation, now=cluster.now())
    reported = None if experiment else ()
    await cluster.write_status(document, {**before, "conditions": settled}, reported=reported)
    return None
