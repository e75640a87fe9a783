"""What a ScaledObject says, read once, with KEDA's defaults."""

from __future__ import annotations

from dataclasses import dataclass

from millrace_core.base.errors import RejectError
from millrace_kube.resources import DEPLOYMENTS, REPLICA_SETS, Object, Resource
from millrace_local.controllers.scaling import behavior
from millrace_local.controllers.scaling.behavior import Behavior

_TARGETS = {(item.api_version, item.kind): item for item in (DEPLOYMENTS, REPLICA_SETS)}
PAUSED_AT = "autoscaling.keda.sh/paused-replicas"
PAUSED = "autoscaling.keda.sh/paused"


@dataclass(frozen=True)
class Trigger:
    """One Prometheus trigger.

    Attributes:
        server: base URL of the Prometheus server; "" when the trigger names none.
        query: PromQL that gives one number.
        threshold: the number per replica (AverageValue) or for all of them together (Value).
        activation: above this number the target is active, that is, not to be scaled to zero.
        average: whether ``threshold`` is per replica.
        empty_is_zero: whether an answer without a sample is 0 rather than a failure.
    """

    server: str
    query: str
    threshold: float
    activation: float
    average: bool
    empty_is_zero: bool


@dataclass(frozen=True)
class Scaling:
    """A ScaledObject. Times are in seconds.

    Attributes:
        least, most: bounds of the replicas; ``least`` may be 0.
        idle: replicas while inactive, where they differ from ``least``.
        behavior: how fast replicas change.
        fallback: replicas after ``failures`` failed polls in a row; None to stay as it is.
        fallback_kind: static, currentReplicas, currentReplicasIfHigher or currentReplicasIfLower.
        paused: replicas to hold whatever the triggers say; -1 to hold the present ones, None when not paused.
    """

    target: Resource
    name: str
    triggers: tuple[Trigger, ...]
    least: int
    most: int
    idle: int | None
    interval: float
    cooldown: float
    behavior: Behavior
    fallback: int | None
    fallback_kind: str
    failures: int
    paused: int | None


def read(scaled_object: Object) -> Scaling:
    """Reads a ScaledObject.

    Raises:
        RejectError: it asks for something that is not supported here; names the field.
    """
    spec, metadata = scaled_object["spec"], scaled_object["metadata"]
    reference = spec["scaleTargetRef"]
    kind = (reference.get("apiVersion") or "apps/v1", reference.get("kind") or "Deployment")
    if kind not in _TARGETS:
        raise RejectError(
            f"cannot scale a {kind[1]} of {kind[0]}", hint="Expected a Deployment", field="spec.scaleTargetRef.kind"
        )
    fallback = spec.get("fallback") or {}
    return Scaling(
        target=_TARGETS[kind],
        name=reference["name"],
        triggers=tuple(_trigger(item, number) for number, item in enumerate(spec["triggers"])),
        least=spec.get("minReplicaCount", 0),
        most=spec.get("maxReplicaCount", 100),
        idle=spec.get("idleReplicaCount"),
        interval=spec.get("pollingInterval", 30),
        cooldown=spec.get("cooldownPeriod", 300),
        behavior=behavior.read(
            ((spec.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}).get("behavior")
        ),
        fallback=fallback.get("replicas"),
        fallback_kind=fallback.get("behavior") or "static",
        failures=fallback.get("failureThreshold", 3),
        paused=_paused(metadata.get("annotations") or {}),
    )


def _paused(annotations: Object) -> int | None:
    replicas = annotations.get(PAUSED_AT, "")
    if replicas.isdigit():
        return int(replicas)
    return -1 if annotations.get(PAUSED) == "true" else None


def _trigger(trigger: Object, number: int) -> Trigger:
    where = f"spec.triggers[{number}]"
    if trigger["type"] != "prometheus":
        raise RejectError(
            f"no trigger of type {trigger['type']!r} here", hint="Expected prometheus", field=f"{where}.type"
        )
    metadata = trigger["metadata"]
    try:
        threshold, activation = float(metadata["threshold"]), float(metadata.get("activationThreshold", 0))
        query = metadata["query"]
    except (KeyError, ValueError) as error:
        raise RejectError(
            f"{error} is missing or no number",
            hint="A prometheus trigger has a query and a threshold",
            field=f"{where}.metadata",
        ) from error
    if threshold <= 0:
        raise RejectError(f"threshold {threshold} is not above 0", field=f"{where}.metadata.threshold")
    return Trigger(
        server=metadata.get("serverAddress", "").rstrip("/"),
        query=query,
        threshold=threshold,
        activation=activation,
        average=trigger.get("metricType", "AverageValue") != "Value",
        empty_is_zero=metadata.get("ignoreNullValues", "true") != "false",
    )
