"""The pods of a Job: how they are built, and the finalizer that keeps each until it is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from millrace_kube.owners import controller_of, owner_reference
from millrace_kube.resources import Object
from millrace_local.controllers.job.indexes import INDEX
from millrace_local.controllers.pods import pod_of

# A pod that carries it has not been counted yet, so it is not gone, whoever deleted it.
TRACKING = "batch.kubernetes.io/job-tracking"


def pod(job: Object, name: str, index: int | None, tries: Mapping[str, str]) -> Object:
    """A new pod of the Job; ``index`` is its completion index in an Indexed Job, ``tries`` what it carries of those
    before it."""
    metadata, template = job["metadata"], job["spec"]["template"]
    body = pod_of(template, name=name, namespace=metadata["namespace"], owner=owner_reference(job))
    body["metadata"]["finalizers"] = [*(body["metadata"].get("finalizers") or []), TRACKING]
    labels = {**(body["metadata"].get("labels") or {})}
    for prefix in ("", "batch.kubernetes.io/"):
        labels[f"{prefix}controller-uid"] = metadata["uid"]
        labels[f"{prefix}job-name"] = metadata["name"]
    body["metadata"]["labels"] = labels
    if index is not None:
        labels[INDEX] = str(index)
        body["metadata"]["annotations"] = {**(body["metadata"].get("annotations") or {}), INDEX: str(index), **tries}
        body["spec"].setdefault("hostname", f"{metadata['name'][:57]}-{index}")
        for group in ("containers", "initContainers"):
            if body["spec"].get(group):
                body["spec"][group] = [_with_index(container) for container in body["spec"][group]]
    return body


def _with_index(container: Object) -> Object:
    variables: list[Any] = container.get("env") or []
    if any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in variables):
        return container
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.annotations['{INDEX}']"}}
    return {**container, "env": [*variables, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}


def is_tracked(child: Object) -> bool:
    """Whether the pod is still to be counted."""
    return TRACKING in (child["metadata"].get("finalizers") or ())


def untracked(child: Object) -> Object:
    """The pod without the finalizer."""
    rest = [name for name in child["metadata"].get("finalizers") or [] if name != TRACKING]
    return {**child, "metadata": {**child["metadata"], "finalizers": rest}}


def job_key(child: Object) -> Iterator[str]:
    """``namespace/name`` of the Job that controls the pod: an index that works after the Job is gone."""
    owner = controller_of(child)
    if owner and owner["kind"] == "Job":
        yield f"{child['metadata']['namespace']}/{owner['name']}"
