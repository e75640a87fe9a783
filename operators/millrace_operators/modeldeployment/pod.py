"""The inference pod: what this release runs for a spec.

The init container brings the model file, the server loads and warms it and is ready only then. The server drains by
itself on SIGTERM: it reports unready, keeps accepting while proxies learn that, and finishes what is in flight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from millrace_core.api import names
from millrace_core.api.base import Resources
from millrace_core.api.modeldeployment import ModelDeploymentSpec, service_name
from millrace_core.api.modeldeployment_inference import Cache, Inference, PredictionLog
from millrace_core.base.quantities import quantity
from millrace_operators.compute import complete
from millrace_operators.modeldeployment.device import CPU, GPU, PRODUCT_LABEL, TAINT
from millrace_operators.platform import Platform, PodToken
from millrace_operators.routing.desired import GRPC_PORT, GRPC_TARGET_PORT, TARGET_PORT

Object = dict[str, Any]

FETCH: Final = "fetch"
SERVE: Final = "serve"
PORT: Final = 8080
# Key of a revision's ConfigMap.
PINNED_KEY: Final = "digest"

# No path that a model's own URI may name: the embedded node rewrites mount paths wherever they stand.
_FOLDER: Final = "/var/millrace/model"
FILE: Final = f"{_FOLDER}/model.onnx"
# Where a claim that the URI names is mounted, and the node's cache of models.
_SOURCE: Final = "/var/millrace/source"
_CACHE: Final = "/var/millrace/cache"
# Beside the model: notes of the fetch.
_NOTES_MEBIBYTES: Final = 16
# For temporary files: the root file system is read-only.
_SCRATCH: Final = "/var/millrace/scratch"
# The termination log by name: what runs pods as processes has to put it somewhere else.
OWN_ENV: Final = {"TMPDIR": _SCRATCH, "MILLRACE_TERMINATION_LOG": "/dev/termination-log"}
# For predictions that are not in the lake yet: it outlives a container, not its pod.
_SPOOL: Final = "/var/millrace/spool"
_SPOOL_BYTES: Final = 512 * 1024**2
# Longer than proxies take to learn that a pod goes, so that none sends to a closed port.
_DRAIN_SECONDS: Final = 10
# Drain, 20 s for what is in flight (the server's own limit), and a margin.
_GRACE_SECONDS: Final = 40
# What a pod with a log may take to bring the rest of it to the lake (the server's own limit), and a margin.
_LOG_SECONDS: Final = 20
# Loading and warming a large model takes minutes; a crash ends the wait at once.
STARTUP_SECONDS: Final = 1800


def template(owner: Object, spec: ModelDeploymentSpec, revision: str, device: str, platform: Platform) -> Object:
    """Labels and spec of the pods of a revision.

    Args:
        owner: the ModelDeployment.
        device: gpu or cpu.
    """
    metadata = owner["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    image = platform.gpu_image if device == GPU else platform.inference_image
    return {
        "metadata": {
            "labels": {
                names.MANAGED_BY: "millrace",
                names.DEPLOYMENT: name,
                names.SERVICE: service_name(name, spec),
                names.REVISION: revision,
            }
        },
        "spec": {
            "initContainers": [_fetch(namespace, spec, revision, platform, image)],
            "containers": [_serve(name, namespace, spec, device, platform, image)],
            "volumes": [
                {"name": "model", "emptyDir": {"sizeLimit": _volume_size(spec, platform)}},
                {"name": "scratch", "emptyDir": {}},
                *(volume for volume, _ in _places(namespace, spec, platform)),
                *_spool_volume(spec),
                *_token(spec, platform).volumes,
            ],
            "terminationGracePeriodSeconds": _GRACE_SECONDS + (_LOG_SECONDS if spec.inference.log else 0),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            **platform.image_pulls(),
            **(_gpu_placement(spec.inference) if device == GPU else {}),
        },
    }


def _places(namespace: str, spec: ModelDeploymentSpec, platform: Platform) -> Iterator[tuple[Object, Object]]:
    """What only the fetch sees, as volumes with their mounts: the claim of the URI, and the node's cache."""
    if claim := _claim(spec):
        source = {"claimName": claim, "readOnly": True}
        mount = {"name": "source", "mountPath": _SOURCE, "readOnly": True}
        yield {"name": "source", "persistentVolumeClaim": source}, mount
    cache = platform.model_cache
    if cache is None:
        return
    mount = {"name": "cache", "mountPath": _CACHE}
    if cache.claim:
        yield {"name": "cache", "persistentVolumeClaim": {"claimName": cache.claim}}, mount
    else:
        # By namespace: who knows a digest has the bytes, and nobody has those of another team by it.
        folder = {"path": cache.host_path, "type": "DirectoryOrCreate"}
        yield {"name": "cache", "hostPath": folder}, {**mount, "subPath": namespace}


def _claim(spec: ModelDeploymentSpec) -> str:
    scheme, _, rest = spec.model.uri.partition("://")
    return rest.partition("/")[0] if scheme == "pvc" else ""


def _fetch(namespace: str, spec: ModelDeploymentSpec, revision: str, platform: Platform, image: str) -> Object:
    env = {
        "MILLRACE_MODEL_URI": spec.model.uri,
        "MILLRACE_MODEL_PATH": FILE,
        "MILLRACE_MODEL_MAX_BYTES": str(platform.model_max_bytes),
        **platform.going_out(),
    }
    if spec.model.digest:
        env["MILLRACE_MODEL_DIGEST"] = spec.model.digest
    if _claim(spec):
        env["MILLRACE_MODEL_VOLUME"] = _SOURCE
    if platform.model_cache is not None:
        env |= {"MILLRACE_MODEL_CACHE": _CACHE, "MILLRACE_MODEL_CACHE_BYTES": str(platform.model_cache.bytes)}
    container = _container(FETCH, image, env, read_only_model=False)
    container["volumeMounts"] += [mount for _, mount in _places(namespace, spec, platform)]
    container["resources"] = complete(None, platform.resources.fetch)
    if not spec.model.digest:
        # Not there for the first pod, which measures what all later ones have to serve.
        pinned = {"name": revision, "key": PINNED_KEY, "optional": True}
        container["env"].append({"name": "MILLRACE_PINNED_DIGEST", "valueFrom": {"configMapKeyRef": pinned}})
    if spec.model.credentials_secret_ref:
        container["envFrom"] = platform.secret(spec.model.credentials_secret_ref.name)
    return container


def _serve_env(name: str, namespace: str, spec: ModelDeploymentSpec, device: str, platform: Platform) -> dict[str, str]:
    env = {
        "MILLRACE_PORT": str(PORT),
        "MILLRACE_GRPC_PORT": str(GRPC_PORT),
        "MILLRACE_MODEL_NAME": service_name(name, spec),
        "MILLRACE_DEPLOYMENT": name,
        "MILLRACE_MODEL_PATH": FILE,
        # With a GPU node at hand the server still falls back if the image lacks the GPU runtime, unless told not to.
        "MILLRACE_DEVICE": CPU if device == CPU else spec.inference.device,
        "MILLRACE_PROJECT": namespace,
        "MILLRACE_DRAIN_SECONDS": str(_DRAIN_SECONDS),
        "MILLRACE_BATCH_MAX_ROWS": str(spec.inference.batching.max_rows),
        "MILLRACE_BATCH_MAX_DELAY": spec.inference.batching.max_delay,
        "MILLRACE_QUEUE_REQUESTS": str(spec.inference.queue.max_requests),
        "MILLRACE_QUEUE_TIMEOUT": spec.inference.queue.timeout,
    }
    if platform.trusted_proxies:
        env["MILLRACE_TRUSTED_PROXIES"] = platform.trusted_proxies
    if spec.inference.max_request_mib:
        env["MILLRACE_MAX_BODY_BYTES"] = str(spec.inference.max_request_mib << 20)
    if spec.features:
        features = spec.features.model_dump(by_alias=True, exclude_none=True)
        env["MILLRACE_FEATURES"] = orjson.dumps(features, option=orjson.OPT_SORT_KEYS).decode()
        if platform.gateway_url:
            env |= {"MILLRACE_GATEWAY_URL": platform.gateway_url, **_token(spec, platform).env}
    if cache := spec.inference.caching:
        env["MILLRACE_CACHE"] = _cache(cache)
    if spec.inference.log is not None:
        env |= {"MILLRACE_LOG": _log(spec.inference.log, platform), **platform.going_out()}
    return {**platform.serve_env, **env}


def _serve(name: str, namespace: str, spec: ModelDeploymentSpec, device: str, platform: Platform, image: str) -> Object:
    env = _serve_env(name, namespace, spec, device, platform)
    container = _container(SERVE, image, env, read_only_model=True)
    container["volumeMounts"] += _token(spec, platform).mounts
    log = spec.inference.log
    if log is not None:
        container["env"].append({"name": "MILLRACE_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}})
        container["volumeMounts"].append({"name": "spool", "mountPath": _SPOOL})
        secret = log.credentials_secret_ref.name if log.credentials_secret_ref else ""
        if secret or (log.uri is None and platform.lake_secret):
            container["envFrom"] = platform.secret(secret or platform.lake_secret)
    container["env"].append({"name": "MILLRACE_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}})
    return {
        **container,
        # That of HTTP first: it has the metrics.
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"}
            for name, port in ((TARGET_PORT, PORT), (GRPC_TARGET_PORT, GRPC_PORT))
        ],
        # Answered once the model is warm, or after 30 s, the server's limit: each failure is a Warning of the node.
        "startupProbe": _probe("/health/started", period=1, timeout=35, failures=STARTUP_SECONDS // 30),
        "readinessProbe": _probe("/health/ready", period=2, failures=2),
        # What does not answer does not drain either.
        "livenessProbe": {**_probe("/health/live", period=10, failures=3), "terminationGracePeriodSeconds": 5},
        "resources": resources(spec.resources, spec.inference, device, platform.resources.serve),
    }


def _volume_size(spec: ModelDeploymentSpec, platform: Platform) -> str:
    """Of the files, and of the notes beside them; a pod whose volume holds more is evicted.

    The layers of an image are beside the files that are read from them.
    """
    times = 2 if spec.model.uri.startswith("oci://") else 1
    return f"{times * (platform.model_max_bytes // 2**20) + _NOTES_MEBIBYTES}Mi"


def _cache(cache: Cache) -> str:
    """What the server is told of its cache."""
    told = {"ttl": cache.ttl, "maxEntries": cache.max_entries, "maxBytes": int(quantity(cache.max_bytes))}
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def _log(log: PredictionLog, platform: Platform) -> str:
    """What the server is told of its log."""
    told = {
        "uri": log.uri or platform.lake_uri,
        "sample": log.sample,
        "unitHeader": log.unit_header,
        "redact": [each.model_dump() for each in log.redact],
        "spool": _SPOOL,
        "spoolBytes": _SPOOL_BYTES,
    }
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS).decode()


def _token(spec: ModelDeploymentSpec, platform: Platform) -> PodToken:
    """For the gateway, from which features are read."""
    return platform.token() if spec.features and platform.gateway_url else PodToken({}, [], [])


def _spool_volume(spec: ModelDeploymentSpec) -> list[Object]:
    """Larger than the server lets its spool become: a pod whose volume holds more is evicted."""
    if spec.inference.log is None:
        return []
    return [{"name": "spool", "emptyDir": {"sizeLimit": f"{2 * _SPOOL_BYTES // 2**20}Mi"}}]


def _container(command: str, image: str, env: dict[str, str], *, read_only_model: bool) -> Object:
    return {
        "name": command,
        "image": image,
        "command": ["python", "-m", "millrace_services.inference", command],
        "env": [{"name": key, "value": value} for key, value in {**env, **OWN_ENV}.items()],
        "volumeMounts": [
            {"name": "model", "mountPath": _FOLDER, **({"readOnly": True} if read_only_model else {})},
            {"name": "scratch", "mountPath": _SCRATCH},
        ],
        # A crash without a message of its own leaves the last lines of the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _probe(path: str, *, period: int, failures: int, timeout: int = 5) -> Object:
    request = {"path": path, "port": TARGET_PORT, "scheme": "HTTP"}
    return {"httpGet": request, "periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}


def resources(stated: Resources | None, inference: Inference, device: str, defaults: Mapping[str, Any]) -> Object:
    """Requests and limits of a container that runs the model; what the spec does not state, from ``defaults``."""
    found = complete(stated.model_dump(exclude_none=True) if stated else None, defaults)
    if device == GPU:
        # Extended resources are not overcommitted: the limit is the request.
        found["limits"] = {**found["limits"], inference.gpu.resource: str(inference.gpu.count)}
    return found


def _gpu_placement(inference: Inference) -> Object:
    placement: Object = {"tolerations": [{"key": TAINT, "operator": "Exists", "effect": "NoSchedule"}]}
    if inference.gpu.product:
        placement["nodeSelector"] = {PRODUCT_LABEL: inference.gpu.product}
    return placement
