"""The Job that judges a revision: its own pods' fetch, then the judge in the place of the server. Pure builder.

It runs what the revision's pods would run: their image, on their kind of node, with their CPU, so that latency is
theirs. Its pods have none of their labels: no Service sends them anything, and no budget counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from millrace_core.api import names
from millrace_core.api.modeldeployment import ModelDeploymentSpec
from millrace_kube.owners import owner_reference
from millrace_kube.resources import JOBS, Object, name_of, namespace_of
from millrace_operators.modeldeployment import pod
from millrace_operators.modeldeployment.revisions import RevisionRecord
from millrace_operators.platform import Platform

GATE: Final = "gate"
CHAMPION: Final = "fetch-champion"

_CHAMPION_FOLDER: Final = "/var/millrace/champion"
_TRIES_AGAIN: Final = 2
_DEADLINE: Final = 3600
# For its log; the judgement itself is in the status.
_KEPT: Final = 24 * 3600
# The process's exit code for what another try does not mend.
_FINAL_EXIT_CODE: Final = 2

# What it sees of the server's volumes.
_MOUNTED: Final = ("model", "scratch")


# What the judge is told as the server is.
_AS_SERVED: Final = ("MILLRACE_DEVICE", "MILLRACE_BATCH_MAX_ROWS")


@dataclass(frozen=True)
class ChampionModel:
    """The model that the service's champion serves.

    Attributes:
        deployment: the ModelDeployment.
        record: of its revision.
        digest: of the file.
    """

    deployment: str
    record: RevisionRecord
    digest: str


@dataclass(frozen=True)
class UnknownChampion:
    """There is a champion, and nobody knows just now which model it serves: nothing can be compared with it."""

    deployment: str


def gate_job(
    owner: Object,
    spec: ModelDeploymentSpec,
    record: RevisionRecord,
    name: str,
    platform: Platform,
    champion: ChampionModel | None,
) -> Object:
    """The Job.

    Args:
        champion: what it is compared with, where a rule asks for that and there is one.
    """
    labels = {
        names.MANAGED_BY: "millrace",
        "app.kubernetes.io/name": "millrace-gate",
        names.GATED: name_of(owner),
    }
    rendered = record.template["spec"]
    others = _fetch_champion(champion, rendered) if champion else None
    containers = [*rendered["initContainers"], *([others[0]] if others else [])]
    kept = ("containers", "initContainers", "volumes", "terminationGracePeriodSeconds")
    return {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": name,
            "namespace": namespace_of(owner),
            "labels": labels,
            "annotations": {names.RUN: "gates", names.REVISION: record.name},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": {
            "backoffLimit": _TRIES_AGAIN,
            "activeDeadlineSeconds": _DEADLINE,
            "ttlSecondsAfterFinished": _KEPT,
            "podFailurePolicy": {"rules": [*_final([*(each["name"] for each in containers), GATE]), _DISRUPTED]},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    **{field: value for field, value in rendered.items() if field not in kept},
                    "restartPolicy": "Never",
                    "initContainers": containers,
                    "containers": [_judge(spec, record, platform, champion)],
                    "volumes": [*_needed(rendered), *(others[1] if others else [])],
                },
            },
        },
    }


_DISRUPTED: Final = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def _final(containers: list[str]) -> list[Object]:
    """Whichever of them says that another try does not mend it, the Job has failed."""
    return [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": container, "operator": "In", "values": [_FINAL_EXIT_CODE]},
        }
        for container in containers
    ]


def _judge(
    spec: ModelDeploymentSpec, record: RevisionRecord, platform: Platform, champion: ChampionModel | None
) -> Object:
    gates, server = spec.gates, record.template["spec"]["containers"][0]
    env = {
        "MILLRACE_GATES": _json(gates.model_dump(by_alias=True, exclude_none=True) if gates else {}),
        "MILLRACE_MODEL_PATH": pod.FILE,
        **{item["name"]: item["value"] for item in server["env"] if item["name"] in _AS_SERVED},
        "MILLRACE_HOLDOUT_MAX_BYTES": str(platform.holdout_max_bytes),
        **platform.going_out(),
    }
    if record.content.get("features"):
        env["MILLRACE_FEATURES"] = _json(record.content["features"])
    mounts = [mount for mount in server["volumeMounts"] if mount["name"] in _MOUNTED]
    if champion is not None:
        env["MILLRACE_CHAMPION_PATH"] = f"{_CHAMPION_FOLDER}/{pod.FILE.rpartition('/')[2]}"
        if champion.record.content.get("features"):
            env["MILLRACE_CHAMPION_FEATURES"] = _json(champion.record.content["features"])
        mounts.append({"name": "champion-model", "mountPath": _CHAMPION_FOLDER, "readOnly": True})
    secret = gates.holdout.credentials_secret_ref if gates and gates.holdout else None
    return {
        "name": GATE,
        "image": server["image"],
        "command": ["python", "-m", "millrace_services.gate"],
        "env": [{"name": key, "value": value} for key, value in {**env, **pod.OWN_ENV}.items()],
        **({"envFrom": platform.secret(secret.name)} if secret else {}),
        "resources": pod.resources(spec.resources, spec.inference, record.device, platform.resources.gate),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": server["securityContext"],
    }


def _needed(rendered: Mapping[str, Any]) -> list[Object]:
    """The volumes that the fetch and the judge see."""
    mounted = {mount["name"] for each in rendered["initContainers"] for mount in each["volumeMounts"]}
    return [each for each in rendered["volumes"] if each["name"] in mounted.union(_MOUNTED)]


def _fetch_champion(champion: ChampionModel, rendered: Mapping[str, Any]) -> tuple[Object, list[Object]]:
    """The fetch of the champion's own pods, with the digest that they serve enforced, and the volumes that it needs."""
    template = champion.record.template["spec"]
    fetch = template["initContainers"][0]
    dropped = ("MILLRACE_PINNED_DIGEST", "MILLRACE_MODEL_DIGEST")
    container = {
        **fetch,
        "name": CHAMPION,
        "image": rendered["initContainers"][0]["image"],
        "env": [
            *(item for item in fetch["env"] if item["name"] not in dropped),
            {"name": "MILLRACE_MODEL_DIGEST", "value": champion.digest},
        ],
        "volumeMounts": [{**mount, "name": f"champion-{mount['name']}"} for mount in fetch["volumeMounts"]],
    }
    mounted = {mount["name"] for mount in fetch["volumeMounts"]}
    volumes = [{**each, "name": f"champion-{each['name']}"} for each in template["volumes"] if each["name"] in mounted]
    return container, volumes


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
