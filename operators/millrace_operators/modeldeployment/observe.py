"""What the cache holds of a ModelDeployment and its surroundings, read into plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from millrace_core.api import feature_reference, names
from millrace_core.api.in_effect import in_effect
from millrace_core.api.modeldeployment import ModelDeployment, ModelDeploymentSpec, service_name
from millrace_core.api.models import load
from millrace_kube.cache import Cache
from millrace_kube.owners import controller_of
from millrace_kube.resources import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    DESTINATION_RULES,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    NODES,
    PODS,
    SERVICE_MONITORS,
    SERVICES,
    Object,
    annotations_of,
    deleting,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_operators.modeldeployment import command as commands
from millrace_operators.modeldeployment import device, pods, scalers
from millrace_operators.modeldeployment.acceptance import Surroundings
from millrace_operators.modeldeployment.command import RESTART, CommandRequest
from millrace_operators.modeldeployment.desired import DEVICE
from millrace_operators.modeldeployment.gate_job import ChampionModel, UnknownChampion
from millrace_operators.modeldeployment.gates import Judged, opens, record_of
from millrace_operators.modeldeployment.pins import Pin, pin
from millrace_operators.modeldeployment.plan import Revision
from millrace_operators.modeldeployment.pods import Fetched
from millrace_operators.modeldeployment.revisions import RevisionRecord, of_revision, records
from millrace_operators.modeldeployment.scalers import Scalers
from millrace_operators.modeldeployment.target import outdated, target_record
from millrace_operators.platform import Platform
from millrace_operators.routing.observe import recorded_champion, service_of


@dataclass(frozen=True)
class DeploymentObservation:
    """A ModelDeployment at one moment.

    Attributes:
        document: the object itself.
        revisions: its Deployments, those not being deleted.
        deployments: the same, as they are, by name.
        records: what is kept of its revisions, oldest first.
        target: the revision that the spec asks for, as it is kept, or as it has to be made.
        pods: by revision.
        pins: the model of each revision, where one is known.
        config_maps: where the pods read it, by revision.
        routed: revisions that the live route leads to.
        champion: whether the service's record names it.
        outdated: where the target's pods differ from what this release renders.
        gate_jobs: its gate Jobs, each with its pods.
        other_model: what the service's champion serves, where that is another model than the
            target's and the gates compare with it.
        request: a command that is not handled yet.
        monitors: whether the cluster serves ServiceMonitors.
        scalers: what scales its pods.
    """

    document: Object
    spec: ModelDeploymentSpec
    revisions: tuple[Revision, ...]
    deployments: Mapping[str, Object]
    records: tuple[RevisionRecord, ...]
    target: RevisionRecord
    pods: Mapping[str, Sequence[Object]]
    pins: Mapping[str, Pin]
    config_maps: Mapping[str, Object]
    routed: frozenset[str]
    champion: bool
    outdated: tuple[str, ...]
    monitors: bool
    scalers: Scalers
    gate_jobs: tuple[tuple[Object, tuple[Object, ...]], ...] = ()
    other_model: ChampionModel | UnknownChampion | None = None
    request: CommandRequest = field(default_factory=CommandRequest)

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return name_of(self.document)

    @property
    def made(self) -> bool:
        """Whether the target is kept already."""
        return self.target in self.records

    def record(self, revision: str) -> RevisionRecord | None:
        """What is kept of a revision."""
        return next((item for item in self.records if item.name == revision), None)

    @property
    def judged(self) -> Judged | None:
        """What gates are about; None: there are none."""
        gates = self.spec.gates
        return Judged(self.name, self.document["metadata"]["uid"], self.target.name, gates) if gates else None

    @property
    def recorded(self) -> str:
        """The revision that served last, from the status."""
        return str(self.status.get("revision") or "")

    @property
    def status(self) -> Mapping[str, Any]:
        """The stored status."""
        return self.document.get("status") or {}


def observe(
    cache: Cache, document: Object, platform: Platform, *, revisions: Sequence[Object] | None = None
) -> DeploymentObservation:
    """Gathers all that a plan depends on.

    Args:
        revisions: its ControllerRevisions as the API server has them; None: those of the cache.

    Raises:
        RejectError: the stored spec is not valid (the API server took it under an older schema).
    """
    spec = parse(document).spec
    name, namespace = name_of(document), namespace_of(document)
    if revisions is None:
        revisions = cache.select(CONTROLLER_REVISIONS, namespace, names.DEPLOYMENT, name)
    kept = records(revisions, document["metadata"]["uid"])
    alike = {kind: cache.select(kind, namespace, names.DEPLOYMENT, name) for kind in (DEPLOYMENTS, CONFIG_MAPS)}
    taken = {name_of(item) for items in alike.values() for item in items}
    living = [item for item in alike[DEPLOYMENTS] if not deleting(item) and _of(document, item)]
    maps = {name_of(item): item for item in alike[CONFIG_MAPS] if _of(document, item)}
    request = commands.unhandled(document)
    chosen = _device(cache, document, spec, living)
    target = target_record(document, spec, kept, chosen, request.of(RESTART), platform, taken=taken)
    pods_of = {name_of(item): cache.select(PODS, namespace, names.REVISION, name_of(item)) for item in living}
    pins = _pins(document.get("status") or {}, (*kept, target), pods_of, maps)
    if (passed := _passed(document, spec, target)) is not None and target.name not in pins:
        pins[target.name] = Pin(passed, stated=bool(target.stated_digest))
    service = service_name(name, spec)
    stable = cache.get(SERVICES, namespace, service)
    return DeploymentObservation(
        document=document,
        spec=spec,
        revisions=tuple(
            revision(item, alike=not _strangers(pins, item), ready_pods=pods.ready(pods_of[name_of(item)]))
            for item in living
        ),
        deployments={name_of(item): item for item in living},
        records=kept,
        target=target,
        pods=pods_of,
        pins=pins,
        config_maps=maps,
        routed=_routed(stable, cache.get(DESTINATION_RULES, namespace, service)),
        champion=recorded_champion(stable).name == name,
        outdated=outdated(document, spec, target, platform),
        monitors=cache.served(SERVICE_MONITORS, namespace),
        scalers=scalers.observe(cache, namespace, name, [name_of(item) for item in living]),
        gate_jobs=_gate_jobs(cache, document),
        other_model=_other_model(cache, document, stable, target, kept, pins) if _compares(spec) else None,
        request=request,
    )


def _passed(document: Object, spec: ModelDeploymentSpec, target: RevisionRecord) -> Fetched | None:
    """The model that the target's gates let through: its pods have to serve that one, whatever lies there now."""
    if spec.gates is None:
        return None
    judged = Judged(name_of(document), document["metadata"]["uid"], target.name, spec.gates)
    record = record_of((document.get("status") or {}).get("gates") or {}, judged)
    if record is None or not opens(record) or not record.get("digest"):
        return None
    return Fetched(str(record["digest"]), int(record.get("bytes") or 0))


def _gate_jobs(cache: Cache, document: Object) -> tuple[tuple[Object, tuple[Object, ...]], ...]:
    namespace, name = namespace_of(document), name_of(document)
    jobs = [job for job in cache.select(JOBS, namespace, names.GATED, name) if _of(document, job) and not deleting(job)]
    found = cache.select(PODS, namespace, names.GATED, name) if jobs else []
    return tuple((job, tuple(pod for pod in found if _job_of(pod) == name_of(job))) for job in jobs)


def _job_of(pod: Object) -> str:
    marks = labels_of(pod)
    return marks.get("batch.kubernetes.io/job-name") or marks.get("job-name", "")


def _compares(spec: ModelDeploymentSpec) -> bool:
    return spec.gates is not None and any(rule.not_worse_than for rule in spec.gates.entries)


def _other_model(
    cache: Cache,
    document: Object,
    stable: Object | None,
    target: RevisionRecord,
    kept: Sequence[RevisionRecord],
    pins: Mapping[str, Pin],
) -> ChampionModel | UnknownChampion | None:
    """The model of the service's champion: this deployment's own that serves, or another's."""
    champion, namespace = recorded_champion(stable).name, namespace_of(document)
    if champion == name_of(document):
        serving = (document.get("status") or {}).get("revision")
        if not serving or serving == target.name:
            return None
        record = next((item for item in kept if item.name == serving), None)
        digest = pins[serving].model.digest if serving in pins else None
    else:
        other = cache.get(MODEL_DEPLOYMENTS, namespace, champion) if champion else None
        if other is None or deleting(other):
            return None
        said = other.get("status") or {}
        found = cache.get(CONTROLLER_REVISIONS, namespace, said["revision"]) if said.get("revision") else None
        record = of_revision(found) if found is not None else None
        digest = (said.get("model") or {}).get("digest")
    return ChampionModel(champion, record, digest) if record and digest else UnknownChampion(champion)


def _of(document: Object, child: Object) -> bool:
    """Whether a child of this name's label is this object's, and not its predecessor's, which goes with it.

    One that nobody controls was orphaned, as by ``kubectl delete --cascade=orphan``, and is taken over.
    """
    controller = controller_of(child)
    return controller is None or controller["uid"] == document["metadata"]["uid"]


def _device(cache: Cache, document: Object, spec: ModelDeploymentSpec, living: Sequence[Object]) -> str:
    """gpu or cpu, for pods that are made now."""
    active = (document.get("status") or {}).get("revision")
    serving = next((revision(item) for item in living if name_of(item) == active), None)
    gpu_serves = serving is not None and serving.device == device.GPU and serving.ready > 0
    return device.choose(spec.inference, cache.all(NODES), gpu_serves=gpu_serves)


def _pins(
    reported: Mapping[str, Any],
    kept: Sequence[RevisionRecord],
    pods_of: Mapping[str, Sequence[Object]],
    maps: Mapping[str, Object],
) -> dict[str, Pin]:
    """The pin of each revision that has one; ``reported`` is the stored status."""
    by_name = {item.name: item for item in kept}
    found = {}
    for name in {*by_name, *pods_of}:
        model = reported.get("model") if reported.get("revision") == name else None
        found[name] = pin(by_name.get(name), model, maps.get(name), pods.measurements(pods_of.get(name, ())))
    return {name: item for name, item in found.items() if item is not None}


def _strangers(pins: Mapping[str, Pin], deployment: Object) -> bool:
    found = pins.get(name_of(deployment))
    return found is not None and bool(found.strangers)


def parse(document: Object) -> ModelDeployment:
    """The typed object.

    Raises:
        RejectError: a field has no valid value.
    """
    return load(ModelDeployment, document)


def revision(deployment: Object, *, alike: bool = True, ready_pods: int = 0) -> Revision:
    """A Deployment as the plan sees it.

    Args:
        alike: whether its pods measured one model.
        ready_pods: how many of them say that they are ready.
    """
    status = deployment.get("status") or {}
    return Revision(
        name=name_of(deployment),
        replicas=deployment["spec"].get("replicas", 1),
        ready=status.get("readyReplicas", 0),
        current=status.get("observedGeneration", 0) >= deployment["metadata"].get("generation", 0),
        created=deployment["metadata"].get("creationTimestamp", ""),
        device=annotations_of(deployment).get(DEVICE, device.CPU),
        alike=alike,
        ready_pods=ready_pods,
    )


def surroundings(
    cache: Cache, document: Object, foreign: Sequence[str], *, made: bool = False, lake: bool = False
) -> Surroundings:
    """What acceptance depends on.

    Args:
        foreign: Services of others under the names needed.
        made: whether the revision that the spec asks for is there; a view that is being deleted waits for it.
        lake: whether the platform has an evidence lake.
    """
    namespace = namespace_of(document)
    refs = (document["spec"].get("features") or {}).get("refs")
    views = {meant.view for meant in feature_reference.readable(refs)}
    found = {view: cache.get(FEATURE_VIEWS, namespace, view) for view in views}
    if None in found.values():  # only a message needs the names of all
        found = {name_of(item): item for item in cache.all(FEATURE_VIEWS, namespace)}
    service = service_of(document)
    rivals = {*names.services_beside(service), *(service.removesuffix(end) for end in names.BESIDE)} - {service}
    return Surroundings(
        views={name: in_effect(item)["spec"] for name, item in found.items() if item is not None},
        leaving=[name for name, item in found.items() if item is not None and deleting(item) and not made],
        older=[
            service_of(item)
            for item in cache.all(MODEL_DEPLOYMENTS, namespace)
            if service_of(item) in rivals and _age(item) < _age(document) and not deleting(item)
        ],
        foreign=foreign,
        lake=lake,
    )


def _age(document: Object) -> tuple[str, str]:
    return document["metadata"].get("creationTimestamp", ""), name_of(document)


def _routed(stable: Object | None, rule: Object | None) -> frozenset[str]:
    selector = ((stable or {}).get("spec") or {}).get("selector") or {}
    subsets = ((rule or {}).get("spec") or {}).get("subsets") or []
    marks = [selector, *(subset.get("labels") or {} for subset in subsets)]
    return frozenset(mark[names.REVISION] for mark in marks if names.REVISION in mark)
