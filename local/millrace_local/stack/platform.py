"""The platform's own objects, as a chart would install them: namespace, store Secret, registry and gateway. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace_core.base import open_destinations

Json = dict[str, Any]

NAMESPACE = "millrace-system"
# Only this machine calls these pods, so they need not wait for clients when they stop.
DRAIN_SECONDS = "0"


def service_url(name: str) -> str:
    """The URL of a service of the platform, in the cluster and through the mesh."""
    return f"http://millrace-{name}.{NAMESPACE}.svc"


def objects(
    components: Sequence[str], *, version: str, store_url: str, registry_folder: Path, lake: Path
) -> list[Json]:
    """The objects that the API server has from its start, in the order in which they can be created.

    ``version`` is the tag of the images.
    """
    system: list[Json] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "millrace-store", "namespace": NAMESPACE},
            "type": "Opaque",
            "stringData": {"url": store_url},
        },
    ]
    if "registry" in components:
        database = {"name": "MILLRACE_DATABASE_URL", "value": f"sqlite:///{registry_folder / 'registry.db'}"}
        system += _service("registry", version, [database], strategy={"type": "Recreate"})
    if "gateway" in components:
        reference = {"secretKeyRef": {"name": "millrace-store", "key": "url"}}
        store = {"name": "MILLRACE_STORE_URL", "valueFrom": reference}
        registry = {"name": "MILLRACE_REGISTRY_URL", "value": service_url("registry")}
        # Everything here runs with the rights of the one person whose machine it is.
        outgoing = {"name": open_destinations.VARIABLE, "value": open_destinations.TEXT}
        log = {"name": "MILLRACE_EVIDENCE_LOG", "value": str(lake.with_name("evidence-log"))}
        place = {"name": "MILLRACE_LAKE_URI", "value": lake.as_uri()}
        system += _service("gateway", version, [store, registry, outgoing, log, place])
    if "agent" in components:
        system.append(_evidence(version, lake))
    return system


def _evidence(version: str, lake: Path) -> Json:
    """The job that merges the lake's files, and deletes old ones."""
    labels = {"app.kubernetes.io/name": "millrace-evidence", "app.kubernetes.io/part-of": "millrace"}
    container = {
        "name": "evidence",
        "image": f"millrace/evidence:{version}",
        "command": ["python", "-m", "millrace_services.evidence"],
        "env": [{"name": "MILLRACE_LAKE_URI", "value": lake.as_uri()}],
    }
    pod = {"restartPolicy": "Never", "containers": [container]}
    job = {"backoffLimit": 1, "template": {"metadata": {"labels": labels}, "spec": pod}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "millrace-evidence", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "schedule": "17 * * * *",
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {"spec": job},
        },
    }


def _service(
    name: str, version: str, environ: Sequence[Mapping[str, Any]], strategy: Mapping[str, Any] | None = None
) -> list[Json]:
    labels = {"app.kubernetes.io/name": f"millrace-{name}", "app.kubernetes.io/part-of": "millrace"}
    metadata = {"name": f"millrace-{name}", "namespace": NAMESPACE, "labels": labels}
    probe = {"httpGet": {"path": "/health/ready", "port": "http"}, "periodSeconds": 1}
    container = {
        "name": name,
        "image": f"millrace/{name}:{version}",
        "command": ["python", "-m", f"millrace_services.{name}"],
        "env": [
            {"name": "MILLRACE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MILLRACE_DRAIN_SECONDS", "value": DRAIN_SECONDS},
            *environ,
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        # Answered when it is ready: each failure would be a Warning.
        "startupProbe": {
            "httpGet": {"path": "/health/started", "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 35,
            "failureThreshold": 60,
        },
        "readinessProbe": probe,
        "livenessProbe": {"httpGet": {"path": "/health/live", "port": "http"}, "periodSeconds": 10},
    }
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app.kubernetes.io/name": f"millrace-{name}"}},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        **({"strategy": strategy} if strategy else {}),
    }
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    selector = {"app.kubernetes.io/name": f"millrace-{name}"}
    return [
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector, "ports": ports}},
    ]
