"""Revisions: which ReplicaSet carries the present template, its number, and which old ones are kept for going back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millrace_kube.owners import owner_reference
from millrace_kube.resources import Object, deleting
from millrace_local.controllers.deployment.rolling import Bounds, Size
from millrace_local.controllers.naming import short_hash
from millrace_local.controllers.pods import created

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
# Annotations that say something about the Deployment object itself, not about what it runs.
_OWN = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        HISTORY,
        DESIRED,
        MAXIMUM,
        "deprecated.deployment.rollback.to",
    }
)
DEFAULT_HISTORY_LIMIT = 10


def template_of(replica_set: Object) -> Object:
    """The ReplicaSet's pod template without the hash label that the Deployment added."""
    template = replica_set["spec"]["template"]
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": metadata}


def same_template(one: Object, other: Object) -> bool:
    """Whether two pod templates mean the same; absent and empty metadata are equal."""

    def plain(template: Object) -> Object:
        metadata = {k: v for k, v in (template.get("metadata") or {}).items() if v}
        return {**template, "metadata": metadata}

    return plain(one) == plain(other)


def template_hash(deployment: Object) -> str:
    """The value of the hash label for the Deployment's present template."""
    collisions = (deployment.get("status") or {}).get("collisionCount", 0)
    return short_hash([deployment["spec"]["template"], collisions])


def current(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """The ReplicaSet that carries the Deployment's present template; the oldest, should there be several.

    The hash label says so even where the API server fills defaults into one template and not into the other.
    """
    template, label = deployment["spec"]["template"], template_hash(deployment)
    for item in by_age(sets):
        if (item["metadata"].get("labels") or {}).get(HASH_LABEL) == label:
            return item
    return next((item for item in by_age(sets) if same_template(template_of(item), template)), None)


def by_age(sets: Sequence[Object]) -> list[Object]:
    """Oldest first."""
    return sorted(sets, key=lambda item: (created(item), item["metadata"]["name"]))


def revision(obj: Object) -> int:
    """The revision noted on a ReplicaSet or Deployment; 0 without one."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def size_of(replica_set: Object) -> Size:
    """The ReplicaSet in numbers."""
    maximum = (replica_set["metadata"].get("annotations") or {}).get(MAXIMUM, "")
    return Size(
        name=replica_set["metadata"]["name"],
        desired=replica_set["spec"].get("replicas", 1),
        available=(replica_set.get("status") or {}).get("availableReplicas", 0),
        maximum=int(maximum) if maximum.isdigit() else 0,
    )


def new_set(deployment: Object, number: int, replicas: int, limits: Bounds) -> Object:
    """The ReplicaSet to create for the Deployment's present template, as revision ``number``."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    template = spec["template"]
    label = template_hash(deployment)
    inner = template.get("metadata") or {}
    labels = {**(inner.get("labels") or {}), HASH_LABEL: label}
    selector = spec["selector"]
    return {
        "metadata": {
            "name": f"{metadata['name']}-{label}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": noted({}, deployment, number, limits),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": {
                **selector,
                "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: label},
            },
            "template": {**template, "metadata": {**inner, "labels": labels}},
        },
    }


def noted(present: Mapping[str, str], deployment: Object, number: int, limits: Bounds) -> dict[str, str]:
    """The annotations of the ReplicaSet of the present template: the Deployment's, the revision and the sizes.

    A ReplicaSet that becomes current again gets a new number and remembers its former ones.
    """
    copied = deployment["metadata"].get("annotations") or {}
    annotations = {**present, **{k: v for k, v in copied.items() if k not in _OWN}}
    former = present.get(REVISION, "")
    if former.isdigit() and int(former) < number:
        annotations[HISTORY] = ",".join(part for part in (present.get(HISTORY, ""), former) if part)
    if not former.isdigit() or int(former) < number:
        annotations[REVISION] = str(number)
    return {**annotations, **sizes_noted(limits)}


def sizes_noted(limits: Bounds) -> dict[str, str]:
    """The annotations by which a later scaling in mid-rollout knows the sizes it started from."""
    return {DESIRED: str(limits.replicas), MAXIMUM: str(limits.replicas + limits.surge)}


def superfluous(deployment: Object, olds: Sequence[Object]) -> list[Object]:
    """The old ReplicaSets beyond ``revisionHistoryLimit`` that keep no pods: those of the lowest revisions."""
    limit = deployment["spec"].get("revisionHistoryLimit", DEFAULT_HISTORY_LIMIT)
    idle = [
        item
        for item in olds
        if not deleting(item)
        and item["spec"].get("replicas", 1) == 0
        and (item.get("status") or {}).get("replicas", 0) == 0
        and (item.get("status") or {}).get("observedGeneration", 0) >= item["metadata"].get("generation", 0)
    ]
    return sorted(idle, key=lambda item: (revision(item), created(item)))[: max(0, len(olds) - limit)]
