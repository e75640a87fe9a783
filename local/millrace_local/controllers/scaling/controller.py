"""Polls the triggers of each ScaledObject, scales its target and says in its conditions how that goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from millrace_core.api.conditions import find
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError, RejectError
from millrace_kube import errors
from millrace_kube.client import Client
from millrace_kube.errors import ApiError, ConflictError
from millrace_kube.informer import Informers
from millrace_kube.resources import SCALED_OBJECTS, Object, deleting
from millrace_kube.times import stamp
from millrace_local.controllers.actions import Change, EmitEvent, Executor
from millrace_local.controllers.scaling import promql
from millrace_local.controllers.scaling.decide import Decision, Memory, decide
from millrace_local.controllers.scaling.pod_metrics import PodMetrics
from millrace_local.controllers.scaling.prometheus import AbsentError, Prometheus
from millrace_local.controllers.scaling.spec import Scaling, Trigger, read

log = logging.getLogger(__name__)

# After no answer from an address, no ScaledObject queries it again for so long.
ABSENT_SECONDS = 30.0
RETRY_SECONDS = 5.0
# Pods are asked more often than a ScaledObject says, which thinks of a Prometheus that scrapes every 15 s.
PODS_SECONDS = 3.0
PAUSED_REASON = "paused"
_HEALTHY = "ScaledObject is defined correctly and is ready for scaling"
_OF_PODS = "; there is no Prometheus, so the load is read from the pods' own /metrics"
_WAS_THERE = ("ScaledObjectReady", "PrometheusUnavailable")


@dataclass(frozen=True)
class Load:
    """What one poll found.

    Attributes:
        values: of the triggers; None where there is none.
        fault: why.
        of_pods: whether a pod was asked, and no Prometheus.
    """

    values: tuple[float | None, ...]
    fault: MillraceError | None = None
    of_pods: bool = False


class ScalingController:
    """One task per ScaledObject, asleep between polls."""

    def __init__(
        self, client: Client, executor: Executor, prometheus: Prometheus, *, now: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._executor = executor
        self._prometheus = prometheus
        self._pods = PodMetrics(now=now)
        self._now = now
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._memory: dict[str, Memory] = {}
        self._absent: dict[str, datetime] = {}

    def wire(self, informers: Informers) -> None:
        """Subscribes; before the informers run."""
        self._objects = informers.of(SCALED_OBJECTS)
        self._pods.wire(informers)

    async def run(self, stop: asyncio.Event) -> None:
        """Polls until ``stop`` is set."""
        self._objects.subscribe(self._changed)
        try:
            await stop.wait()
        finally:
            for task in self._tasks.values():
                task.cancel()
            for task in list(self._tasks.values()):
                with suppress(asyncio.CancelledError):
                    await task

    def _changed(self, old: Object | None, new: Object | None) -> None:
        """Starts, restarts or ends the polling of one object; its own status writes change nothing."""
        obj = new or old
        if obj is None or (old and new and _intent(old) == _intent(new)):
            return
        namespace = obj["metadata"]["namespace"]
        key = f"{namespace}/{obj['metadata']['name']}"
        if old is not None:
            self._pods.forget(f"{namespace}/{old['spec']['scaleTargetRef']['name']}")
        if task := self._tasks.pop(key, None):
            task.cancel()
        if new is not None and not deleting(new):
            self._tasks[key] = asyncio.get_running_loop().create_task(self._keep(key))
        else:
            self._memory.pop(key, None)

    async def _keep(self, key: str) -> None:
        while (obj := self._objects.items.get(key)) is not None:
            try:
                interval = await self._poll(key, obj)
            except ApiError as error:
                log.log(
                    logging.DEBUG if isinstance(error, ConflictError) else logging.WARNING, "scaling %s: %s", key, error
                )
                interval = RETRY_SECONDS
            except Exception:
                log.exception("scaling %s", key)
                interval = ABSENT_SECONDS
            await asyncio.sleep(interval)

    async def _poll(self, key: str, obj: Object) -> float:
        try:
            scaling = read(obj)
            current = await self._current(obj, scaling)
            load = await self._load(obj, scaling) if scaling.paused is None else Load(())
        except RejectError as error:
            await self._report(obj, ready=("False", "ScaledObjectCheckFailed", str(error)))
            return ABSENT_SECONDS
        ready = find((obj.get("status") or {}).get("conditions"), "Ready") or {}
        fault, interval = load.fault, min(scaling.interval, PODS_SECONDS) if load.of_pods else scaling.interval
        if isinstance(fault, AbsentError) and ready.get("reason") not in _WAS_THERE:
            await self._report(obj, ready=("False", "PrometheusAbsent", f"{fault}; replicas are left as they are"))
            return interval
        memory = self._memory.get(key) or Memory(active_at=_last_active(obj))
        decision = _decision(scaling, load.values, current, memory, self._now())
        self._memory[key] = decision.memory
        if decision.replicas != current:
            await self._scale(obj, scaling, current, decision)
        healthy = ("True", "ScaledObjectReady", _HEALTHY + (_OF_PODS if load.of_pods else ""))
        await self._report(
            obj,
            ready=healthy if fault is None else ("False", "PrometheusUnavailable", str(fault)),
            decision=decision,
        )
        return interval

    async def _load(self, obj: Object, scaling: Scaling) -> Load:
        values: list[float | None] = []
        fault: MillraceError | None = None
        of_pods = False
        for trigger in scaling.triggers:
            try:
                number, from_pods = await self._ask(obj, scaling, trigger)
            except MillraceError as error:
                number, from_pods, fault = None, False, error
            values.append(number)
            of_pods |= from_pods
        return Load(tuple(values), fault, of_pods)

    async def _ask(self, obj: Object, scaling: Scaling, trigger: Trigger) -> tuple[float, bool]:
        """The trigger's value, and whether the pods themselves gave it."""
        address = self._prometheus.address(trigger)
        if self._absent.get(address, self._now()) <= self._now():
            try:
                return await self._prometheus.value(trigger), False
            except AbsentError:
                self._absent[address] = self._now() + timedelta(seconds=ABSENT_SECONDS)
        absent = f"no Prometheus at {address}" if address else "no Prometheus is configured"
        try:
            terms = promql.parse(trigger.query)
        except RejectError as error:
            raise AbsentError(f"{absent}, and {error}") from error
        found = await self._pods.value(f"{obj['metadata']['namespace']}/{scaling.name}", terms)
        if found is None:
            raise AbsentError(f"{absent}, and no ready pod of {scaling.name} shows {terms[0].name}")
        return found, True

    async def _current(self, obj: Object, scaling: Scaling) -> int:
        path = scaling.target.path(obj["metadata"]["namespace"], scaling.name, "scale")
        try:
            scale = await self._client.request("GET", path)
        except errors.AbsentError as error:
            raise RejectError(
                f"there is no {scaling.target.kind} {scaling.name!r}", field="spec.scaleTargetRef.name"
            ) from error
        return int(scale["spec"].get("replicas", 0))

    async def _scale(self, obj: Object, scaling: Scaling, current: int, decision: Decision) -> None:
        namespace = obj["metadata"]["namespace"]
        change = {"spec": {"replicas": decision.replicas}}
        await self._client.patch(scaling.target, namespace, scaling.name, change, subresource="scale")
        message = f"Scaled {scaling.name} from {current} to {decision.replicas}: {decision.reason}"
        await self._executor.perform([EmitEvent(obj, "KEDAScaleTargetScaled", message)])

    async def _report(self, obj: Object, *, ready: tuple[str, str, str], decision: Decision | None = None) -> None:
        """Writes the conditions (KEDA's have no times) and one event when the readiness changes."""
        obj = self._objects.items.get(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}", obj)
        before = obj.get("status") or {}
        known = find(before.get("conditions"), "Ready") or {}
        conditions = [_condition("Ready", *ready)]
        status = {**before}
        if decision is not None:
            word = "True" if decision.active else "False"
            reason = "ScalerActive" if decision.active else "ScalerNotActive"
            conditions.append(_condition("Active", word, reason, f"Scaling is {decision.reason}"))
            fell_back = "True" if decision.fell_back else "False"
            conditions.append(
                _condition("Fallback", fell_back, "FallbackExists" if decision.fell_back else "NoFallbackFound", "")
            )
            if decision.active and decision.memory.active_at and _is_old(before.get("lastActiveTime"), self._now()):
                status["lastActiveTime"] = stamp(decision.memory.active_at)
            if decision.reason == PAUSED_REASON:
                conditions.append(_condition("Paused", "True", "ScaledObjectPaused", "ScaledObject is paused"))
        status["conditions"] = conditions
        actions: list[Change | EmitEvent] = [Change(SCALED_OBJECTS, obj, {**obj, "status": status}, "status")]
        if (known.get("status"), known.get("reason")) != ready[:2]:
            kind = "Normal" if ready[0] == "True" else "Warning"
            actions.append(EmitEvent(obj, ready[1], ready[2], "Normal" if kind == "Normal" else "Warning"))
        await self._executor.perform(actions)


def _decision(
    scaling: Scaling, values: tuple[float | None, ...], current: int, memory: Memory, now: datetime
) -> Decision:
    if scaling.paused is not None:
        return Decision(current if scaling.paused < 0 else scaling.paused, PAUSED_REASON, active=False, memory=memory)
    return decide(scaling, values, current, memory, now)


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def _intent(obj: Object) -> tuple[object, ...]:
    metadata = obj["metadata"]
    return metadata["uid"], obj["spec"], metadata.get("annotations"), metadata.get("deletionTimestamp")


def _last_active(obj: Object) -> datetime | None:
    text = (obj.get("status") or {}).get("lastActiveTime")
    return timestamps.parse(text) if text else None


def _is_old(text: str | None, now: datetime) -> bool:
    """Whether the noted time of activity is worth renewing; not at every poll, which would be a write each."""
    return text is None or now - timestamps.parse(text) > timedelta(minutes=1)
