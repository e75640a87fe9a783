"""One ModelDeployment, brought to what its spec says."""

from __future__ import annotations

import asyncio
from typing import Final

from millrace_core.api import conditions, names
from millrace_core.api.base import COMMAND_ANNOTATION, GROUP
from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube.cache import must_be_served
from millrace_kube.cached_client import CachedClient
from millrace_kube.platform import Platform
from millrace_kube.queue import Key, Requeue
from millrace_kube.refusals import REFUSED_SECONDS, Refusals
from millrace_kube.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    FEATURE_VIEWS,
    HORIZONTAL_POD_AUTOSCALERS,
    MODEL_DEPLOYMENTS,
    PODS,
    SCALED_OBJECTS,
    SERVICES,
    Object,
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.modeldeployment import desired, scaler
from millrace_operators.modeldeployment.acceptance import objection
from millrace_operators.modeldeployment.deletion import held_by
from millrace_operators.modeldeployment.observe import DeploymentObservation, observe, surroundings
from millrace_operators.modeldeployment.plan import RolloutPlan, plan
from millrace_operators.modeldeployment.revisions import superfluous
from millrace_operators.modeldeployment.status import MODEL_REPLACED, rejected, status
from millrace_operators.routing import observe as routes
from millrace_operators.routing.observe import service_of

FINALIZER: Final = f"{GROUP}/route"

_SCALERS: Final = (SCALED_OBJECTS, HORIZONTAL_POD_AUTOSCALERS)


async def reconcile(cluster: CachedClient, platform: Platform, key: Key) -> Requeue | None:
    """One turn; idempotent.

    Raises:
        RetryError: the API server does not serve Millrace's own kinds just now.
    """
    must_be_served(cluster.cache, MODEL_DEPLOYMENTS, FEATURE_VIEWS)
    document = cluster.cache.get(MODEL_DEPLOYMENTS, key.namespace, key.name)
    if document is None:
        return None
    if deleting(document):
        return await _delete(cluster, document)
    document = await cluster.add_finalizer(document, FINALIZER)
    try:
        observed = observe(cluster.cache, document, platform)
        if not observed.made:
            observed = await _looked_up(cluster, platform, document)
    except RejectError as error:
        await cluster.write_status(document, rejected(document, error, cluster.now()))
        return None
    foreign = await _foreign(cluster, document)
    problem = objection(observed.name, observed.spec, surroundings(cluster.cache, document, foreign))
    planned = plan(
        observed.target.name,
        observed.revisions,
        observed.recorded,
        observed.spec.scaling,
        pinned=observed.pins,
        routed=observed.routed,
    )
    refused = await _act(cluster, platform, observed, planned, accepted=problem is None)
    after = await cluster.write_status(document, status(observed, planned, problem or refused, cluster.now()))
    await _emit_events(cluster, observed, planned, written=after is not document)
    # No watch reports a Service of somebody else either.
    return Requeue(REFUSED_SECONDS) if foreign or refused is not None else None


async def _looked_up(cluster: CachedClient, platform: Platform, document: Object) -> DeploymentObservation:
    """What is there, with the revisions as the API server has them: a cache that lags must not make one twice."""
    labels = f"{names.MANAGED_BY}=millrace,{names.DEPLOYMENT}={name_of(document)}"
    found, _ = await cluster.client.list(CONTROLLER_REVISIONS, namespace=namespace_of(document), labels=labels)
    return observe(cluster.cache, document, platform, revisions=found)


async def _act(
    cluster: CachedClient, platform: Platform, observed: DeploymentObservation, planned: RolloutPlan, *, accepted: bool
) -> MillraceError | None:
    """Writes the children; gives the first refusal. What is refused keeps nothing else from being done."""
    namespace, refusals = namespace_of(observed.document), Refusals()
    shared = _shared_children(platform, observed, planned, accepted=accepted)
    kinds = {child["kind"] for child in shared}
    for scalers in _SCALERS:
        held = cluster.cache.get(scalers, namespace, observed.name)
        if held is not None and held["kind"] not in kinds:  # before another is made: two would pull at one number
            with refusals.noted():
                await cluster.delete(scalers, namespace_of(held), name_of(held))
    if refusals.first is not None:
        shared = [child for child in shared if child["kind"] not in {scalers.kind for scalers in _SCALERS}]
    for name in planned.replicas:
        with refusals.noted():
            for child in await _revision_children(cluster, observed, planned, name, accepted=accepted):
                await cluster.apply(child)
    for child in shared:
        with refusals.noted():
            await cluster.apply(child)
    await _remove(cluster, observed, planned, refusals)
    return refusals.first


async def _revision_children(
    cluster: CachedClient, observed: DeploymentObservation, planned: RolloutPlan, name: str, *, accepted: bool
) -> list[Object]:
    """What a revision needs, in order: each is made only where those before it are there.

    Without acceptance no new revision is made, and what exists is kept true.
    """
    record = observed.record(name) or (observed.target if accepted and name == observed.target.name else None)
    if record is None:
        return []
    owner, pin, held = observed.document, observed.pins.get(name), observed.config_maps.get(name)
    children = [desired.controller_revision(owner, record)]
    if pin is not None and not pin.stated:
        wanted = desired.pinned_model(owner, record, pin.model)
        if held is not None and held.get("data") != wanted["data"]:  # it is immutable
            await cluster.delete(CONFIG_MAPS, namespace_of(held), name_of(held))
        children.append(wanted)
    if accepted or name in observed.deployments:
        children.append(desired.deployment(owner, record, replicas=planned.replicas[name]))
    return children


def _shared_children(
    platform: Platform, observed: DeploymentObservation, planned: RolloutPlan, *, accepted: bool
) -> list[Object]:
    """The children that all revisions share."""
    children: list[Object] = []
    owner, target = observed.document, observed.target.name
    exists = target in observed.deployments
    if accepted or exists:
        children.append(desired.disruption_budget(owner, observed.spec))
        if observed.monitors:
            children.append(desired.service_monitor(owner, observed.spec))
    # Not while a first pod is alone on purpose: a scaler would give it company at once.
    scaled = planned.active or (target if target in observed.pins and (accepted or exists) else "")
    wanted = (
        scaler.scaler(owner, observed.spec, scaled, platform.prometheus_url, keda=observed.keda) if scaled else None
    )
    return [*children, *([wanted] if wanted else [])]


async def _remove(
    cluster: CachedClient, observed: DeploymentObservation, planned: RolloutPlan, refusals: Refusals
) -> None:
    """Takes away revisions that nobody needs, and pods that hold another model than their revision serves."""
    namespace = namespace_of(observed.document)
    used = {planned.target, planned.active, *observed.deployments}
    old = superfluous(observed.records, used)
    known = {item.name for item in observed.records} - {*old}
    gone = [
        *((DEPLOYMENTS, revision, "") for revision in planned.delete),
        *((CONTROLLER_REVISIONS, revision, "") for revision in old),
        *((CONFIG_MAPS, revision, "") for revision in observed.config_maps.keys() - known - used),
        *((PODS, pod.pod, pod.uid) for pin in observed.pins.values() for pod in pin.strangers),
    ]
    for resource, name, uid in gone:
        with refusals.noted():
            await cluster.delete(resource, namespace, name, uid=uid)


async def _emit_events(
    cluster: CachedClient, observed: DeploymentObservation, planned: RolloutPlan, *, written: bool
) -> None:
    """Events of this turn beside those of conditions."""
    document = observed.document
    for revision, pin in observed.pins.items():
        for pod in pin.strangers:
            note = (
                f"the pod {pod.pod} measured {pod.model.digest}, the revision {revision} serves {pin.model.digest}: "
                "the pod is replaced"
            )
            await cluster.events.emit(document, "Warning", MODEL_REPLACED, note, identity=["replaced", pod.uid])
    if not written:
        return
    if observed.bad_command is not None:
        text = annotations_of(document).get(COMMAND_ANNOTATION, "")
        note = f"command refused: {observed.bad_command}"
        await cluster.events.emit(document, "Warning", observed.bad_command.reason, note, identity=["command", text])
    if planned.switched:
        note = f"{planned.active} is ready and serves"
        identity = ["active", planned.active, document["metadata"]["generation"]]
        await cluster.events.emit(document, "Normal", "RevisionActive", note, identity=identity)


async def _foreign(cluster: CachedClient, document: Object) -> list[str]:
    """Services of somebody else under the names that this deployment's service needs."""
    service, namespace = service_of(document), namespace_of(document)
    missing = [
        name for name in (service, names.arms_service(service)) if cluster.cache.get(SERVICES, namespace, name) is None
    ]
    found = await asyncio.gather(*(cluster.client.get(SERVICES, namespace, name) for name in missing))
    return [name_of(item) for item in found if item is not None and labels_of(item).get(names.MANAGED_BY) != "millrace"]


async def _delete(cluster: CachedClient, document: Object) -> Requeue | None:
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
