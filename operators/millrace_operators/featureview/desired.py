"""The children of a view: CronJob, one-shot Jobs, the purge Job, the Secret with the store's URL. Pure builders."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_core.features.online import store_url
from millrace_kube.owners import owner_reference
from millrace_kube.resources import CRON_JOBS, JOBS, SECRETS, Object, name_of, namespace_of
from millrace_operators.compute import complete
from millrace_operators.featureview import runs
from millrace_operators.featureview.intervals import BEGINNING, Interval
from millrace_operators.featureview.next_job import JobRequest
from millrace_operators.platform import Platform, PodToken

CONTAINER: Final = "materialize"
# Where the query engine spills what exceeds its memory.
_SCRATCH: Final = "/var/millrace/scratch"
_COMMAND: Final = ["python", "-m", "millrace_services.materialize"]

# Seconds. A run that was missed for longer is skipped; the next one covers its interval, too.
_STARTING_DEADLINE: Final = 3600
_SCHEDULED_DEADLINE: Final = 6 * 3600
_BACKFILL_DEADLINE: Final = 24 * 3600
_PURGE_DEADLINE: Final = 300
_KEPT: Final = 24 * 3600
_PURGE_KEPT: Final = 600
_TRIES_AGAIN: Final = 3

# The same in all pods of a run. JOB_COMPLETION_INDEX, which Kubernetes sets, differs.
_JOB_UID: Final = "metadata.labels['batch.kubernetes.io/controller-uid']"
_SHARDED: Final = [{"name": "MILLRACE_RUN", "valueFrom": {"fieldRef": {"fieldPath": _JOB_UID}}}]

# The job's exit code for a definition or data that is wrong (docs/parts.md).
_FINAL_EXIT_CODE: Final = 2


def cron_job(view: Object, platform: Platform, definition: str, *, suspended: bool) -> Object:
    """The CronJob that materializes new rows on the view's schedule."""
    name = names.cron_job(name_of(view))
    return {
        "apiVersion": CRON_JOBS.api_version,
        "kind": CRON_JOBS.kind,
        "metadata": _metadata(view, name),
        "spec": {
            "schedule": view["spec"]["materialization"]["schedule"],
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _STARTING_DEADLINE,
            "suspend": suspended,
            "successfulJobsHistoryLimit": 2,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {
                    "labels": _labels(view),
                    "annotations": {
                        names.RUN: runs.SCHEDULE,
                        names.DEFINITION: definition,
                        names.RENDERED: rendering(view, platform),
                    },
                },
                "spec": _run_spec(view, platform, [], _SCHEDULED_DEADLINE),
            },
        },
    }


def one_shot_job(view: Object, platform: Platform, definition: str, request: JobRequest) -> Object:
    """The Job of a backfill or a command."""
    metadata = _metadata(view, request.name)
    interval = request.interval
    metadata["annotations"] = {
        names.RUN: request.purpose,
        names.DEFINITION: definition,
        names.RENDERED: rendering(view, platform),
        **({names.INTERVAL: f"{_start(interval)}/{timestamps.render(interval.end)}"} if interval else {}),
        **({names.INTERVAL: runs.EVERYTHING} if request.full else {}),
    }
    arguments = ["--full"] if request.full else _arguments(interval)
    spec = _run_spec(view, platform, arguments, _BACKFILL_DEADLINE)
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": metadata,
        "spec": {**spec, "ttlSecondsAfterFinished": _KEPT},
    }


def rendering(view: Object, platform: Platform) -> str:
    """Digest of all that the pods of a run follow from but its interval; empty for a view that has no runs.

    A Job cannot be changed: where this differs, a run that is stuck has to be replaced.
    """
    if not view["spec"].get("materialization"):
        return ""
    # The store's URL may be in a Secret, whose name stays the same.
    return names.digest([_run_spec(view, platform, [], _BACKFILL_DEADLINE), platform.store_url])[:16]


def purge_job(view: Object, platform: Platform, attempt: int) -> Object:
    """The Job that deletes the online rows of a deleted view.

    It runs in the operator's namespace and has no owner: the view's namespace may be terminating, too, and a foreground
    deletion of the view would delete the Job with it.
    """
    namespace, uid = namespace_of(view), view["metadata"]["uid"]
    name = names.purge_job(namespace, name_of(view), uid, attempt)
    labels = {**_labels(view), names.PROJECT: namespace}
    container = {
        **_container(platform, ["purge"]),
        "env": _environment(view, platform, platform.store_secret),
        "resources": complete(None, platform.resources.purge),
    }
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": name,
            "namespace": platform.namespace,
            "labels": labels,
            "annotations": {names.RUN: runs.PURGE},
        },
        "spec": {**_job_spec(platform, container, labels, _PURGE_DEADLINE, 1), "ttlSecondsAfterFinished": _PURGE_KEPT},
    }


def store_secret(views: Sequence[Object], url: str) -> Object:
    """The Secret with the store's URL for Jobs in the namespace of these views; it is deleted with the last of them."""
    return {
        "apiVersion": SECRETS.api_version,
        "kind": SECRETS.kind,
        "metadata": {
            "name": names.STORE_SECRET,
            "namespace": namespace_of(views[0]),
            "ownerReferences": [owner_reference(view, controller=False) for view in views],
        },
        "type": "Opaque",
        "data": {"url": base64.b64encode(url.encode()).decode()},
    }


def definition_json(view: Object) -> str:
    """``MILLRACE_FEATURE_VIEW``: the part of the view that the job needs."""
    definition: Mapping[str, Any] = {
        "metadata": {"name": name_of(view), "namespace": namespace_of(view)},
        "spec": view["spec"],
    }
    return orjson.dumps(definition, option=orjson.OPT_SORT_KEYS).decode()


def is_secret(url: str) -> bool:
    """Whether the store's URL holds a password, and so must not be in a pod's spec."""
    return store_url.is_secret(url)


def _metadata(view: Object, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace_of(view),
        "labels": _labels(view),
        "ownerReferences": [owner_reference(view)],
    }


def _labels(view: Object) -> dict[str, str]:
    return {names.MANAGED_BY: "millrace", "app.kubernetes.io/name": "millrace-materialize", names.VIEW: name_of(view)}


def _run_spec(view: Object, platform: Platform, arguments: list[str], deadline: int) -> dict[str, Any]:
    spec = view["spec"]
    credentials = spec["source"].get("credentialsSecretRef")
    shards = int(spec["materialization"].get("parallelism", 1))
    environment = _environment(view, platform, names.STORE_SECRET)
    container = {
        **_container(platform, ["run", *arguments]),
        "env": [*environment, *_going_out(platform), *(_SHARDED if shards > 1 else [])],
        **({"envFrom": platform.secret(credentials["name"])} if credentials else {}),
        # Also a request: without one all runs of one scheduled time would start at once.
        "resources": complete(spec["materialization"].get("resources"), platform.resources.materialize),
    }
    return _job_spec(platform, container, _labels(view), deadline, shards)


def _job_spec(
    platform: Platform, container: dict[str, Any], labels: dict[str, str], deadline: int, shards: int
) -> dict[str, Any]:
    final = {"containerName": CONTAINER, "operator": "In", "values": [_FINAL_EXIT_CODE]}
    return {
        **_tries(shards),
        "activeDeadlineSeconds": deadline,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": final},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": {**labels}},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [container],
                "volumes": [{"name": "scratch", "emptyDir": {}}, *_token(platform).volumes],
                **platform.image_pulls(),
            },
        },
    }


def _tries(shards: int) -> dict[str, Any]:
    """How many pods there are, and how often each is tried again. A shard that fails for good fails the run."""
    if shards == 1:
        return {"backoffLimit": _TRIES_AGAIN}
    return {
        "completionMode": "Indexed",
        "completions": shards,
        "parallelism": shards,
        "backoffLimitPerIndex": _TRIES_AGAIN,
        "maxFailedIndexes": 0,
    }


def _container(platform: Platform, arguments: list[str]) -> dict[str, Any]:
    return {
        "name": CONTAINER,
        "image": platform.materialize_image,
        "command": _COMMAND,
        "args": arguments,
        # After a crash without a message this gives the end of the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [{"name": "scratch", "mountPath": _SCRATCH}, *_token(platform).mounts],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _environment(view: Object, platform: Platform, secret: str) -> list[dict[str, Any]]:
    store: dict[str, Any] = {"value": platform.store_url}
    if is_secret(platform.store_url):
        store = {"valueFrom": {"secretKeyRef": {"name": secret, "key": "url"}}}
    return [
        {"name": "MILLRACE_FEATURE_VIEW", "value": definition_json(view)},
        {"name": "MILLRACE_STORE_URL", **store},
        # As a variable, because the laptop mode, which runs pods as processes, puts the file elsewhere.
        {"name": "MILLRACE_TERMINATION_LOG", "value": "/dev/termination-log"},
        {"name": "TMPDIR", "value": _SCRATCH},
        *([{"name": "MILLRACE_REGISTRY_URL", "value": platform.registry_url}] if platform.registry_url else []),
        *({"name": name, "value": value} for name, value in _token(platform).env.items()),
    ]


def _token(platform: Platform) -> PodToken:
    """For the registry, to which runs are told."""
    return platform.token() if platform.registry_url else PodToken({}, [], [])


def _going_out(platform: Platform) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in platform.going_out().items()]


def _arguments(interval: Interval | None) -> list[str]:
    if interval is None:
        return []
    start = _start(interval)
    return [*(["--start", start] if start else []), "--end", timestamps.render(interval.end)]


def _start(interval: Interval) -> str:
    return "" if interval.start == BEGINNING else timestamps.render(interval.start)
