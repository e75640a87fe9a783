"""What the cache holds of a ModelDeployment and its surroundings, read into plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace_core.api import names
from millrace_core.api.loading import load_object
from millrace_core.api.modeldeployment import ModelDeployment, ModelDeploymentSpec, service_name
from millrace_core.base.errors import ReportError
from millrace_kube.cache import Cache
from millrace_kube.platform import Platform
from millrace_kube.resources import (
    DEPLOYMENTS,
    DESTINATION_RULES,
    FEATURE_VIEWS,
    MODEL_DEPLOYMENTS,
    NODES,
    PODS,
    SCALED_OBJECTS,
    SERVICE_MONITORS,
    SERVICES,
    Object,
    annotations_of,
    deleting,
    name_of,
    namespace_of,
)
from millrace_operators.modeldeployment import device, pod
from millrace_operators.modeldeployment.acceptance import Surroundings
from millrace_operators.modeldeployment.desired import DEVICE
from millrace_operators.modeldeployment.plan import Revision
from millrace_operators.routing.observe import recorded, service_of


@dataclass(frozen=True)
class Observed:
    """A ModelDeployment at one moment.

    Attributes:
        document: the object itself.
        revisions: its Deployments, those not being deleted.
        deployments: the same, as they are, by name.
        pods: by revision.
        routed: revisions that the live route leads to.
        champion: whether the service's record names it.
        device: gpu or cpu, for the revision that the spec asks for.
        template: of the pods that the spec asks for, without what the revision adds.
        keda: whether the cluster serves ScaledObjects; ``monitors``: ServiceMonitors.
        scaled_object: its ScaledObject, where there is one.
    """

    document: Object
    spec: ModelDeploymentSpec
    revisions: tuple[Revision, ...]
    deployments: Mapping[str, Object]
    pods: Mapping[str, Sequence[Object]]
    routed: frozenset[str]
    champion: bool
    device: str
    template: Object
    keda: bool
    monitors: bool
    scaled_object: Object | None

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return name_of(self.document)

    @property
    def target(self) -> str:
        """Name of the revision that the spec asks for."""
        return names.revision(self.name, self.template)

    @property
    def recorded(self) -> str:
        """The revision that served last, from the status."""
        return str(self.status.get("revision") or "")

    @property
    def status(self) -> Mapping[str, Any]:
        """The stored status."""
        return self.document.get("status") or {}


def observe(cache: Cache, document: Object, platform: Platform) -> Observed:
    """Gathers all that a plan depends on.

    Raises:
        RejectError: the stored spec is not valid (the API server took it under an older schema).
    """
    spec = parse(document).spec
    name, namespace = name_of(document), namespace_of(document)
    service = service_name(name, spec)
    living = [item for item in cache.select(DEPLOYMENTS, namespace, names.DEPLOYMENT, name) if not deleting(item)]
    revisions = tuple(revision(item) for item in living)
    serving = next((r for r in revisions if r.name == (document.get("status") or {}).get("revision")), None)
    gpu_serves = serving is not None and serving.device == device.GPU and serving.ready > 0
    chosen = device.choose(spec.inference, cache.all(NODES), gpu_serves=gpu_serves)
    stable = cache.get(SERVICES, namespace, service)
    return Observed(
        document=document,
        spec=spec,
        revisions=revisions,
        deployments={name_of(item): item for item in living},
        pods={r.name: cache.select(PODS, namespace, names.REVISION, r.name) for r in revisions},
        routed=_routed(stable, cache.get(DESTINATION_RULES, namespace, service)),
        champion=recorded(stable).name == name,
        device=chosen,
        template=pod.template(name, namespace, spec, chosen, platform),
        keda=cache.served(SCALED_OBJECTS),
        monitors=cache.served(SERVICE_MONITORS),
        scaled_object=cache.get(SCALED_OBJECTS, namespace, name),
    )


def parse(document: Object) -> ModelDeployment:
    """The typed object.

    Raises:
        RejectError: a field has no valid value.
    """
    parsed = load_object(document)
    if not isinstance(parsed, ModelDeployment):
        raise ReportError(f"{document['kind']} came where a ModelDeployment was expected")
    return parsed


def revision(deployment: Object) -> Revision:
    """A Deployment as the plan sees it."""
    status = deployment.get("status") or {}
    return Revision(
        name=name_of(deployment),
        replicas=deployment["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        current=status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0),
        created=deployment["metadata"].get("creationTimestamp", ""),
        device=annotations_of(deployment).get(DEVICE, device.CPU),
    )


def surroundings(cache: Cache, document: Object, foreign: Sequence[str]) -> Surroundings:
    """What acceptance depends on; ``foreign`` are Services of others under the names needed."""
    namespace = namespace_of(document)
    views = {ref.partition(":")[0] for ref in (document["spec"].get("features") or {}).get("refs") or ()}
    found = {view: cache.get(FEATURE_VIEWS, namespace, view) for view in views}
    if None in found.values():  # only a message needs the names of all
        found = {name_of(item): item for item in cache.all(FEATURE_VIEWS, namespace)}
    service = service_of(document)
    rivals = {names.arms_service(service), service.removesuffix("-arms")} - {service}
    return Surroundings(
        views={name: item["spec"] for name, item in found.items() if item is not None and not deleting(item)},
        elders=[
            service_of(item)
            for item in cache.all(MODEL_DEPLOYMENTS, namespace)
            if service_of(item) in rivals and _age(item) < _age(document) and not deleting(item)
        ],
        foreign=foreign,
    )


def _age(document: Object) -> tuple[str, str]:
    return document["metadata"].get("creationTimestamp", ""), name_of(document)


def _routed(stable: Object | None, rule: Object | None) -> frozenset[str]:
    selector = ((stable or {}).get("spec") or {}).get("selector") or {}
    subsets = ((rule or {}).get("spec") or {}).get("subsets") or []
    marks = [selector, *(subset.get("labels") or {} for subset in subsets)]
    return frozenset(mark[names.REVISION] for mark in marks if names.REVISION in mark)
