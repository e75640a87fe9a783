"""What the pods of a revision tell: the model they fetched, and what keeps them from serving.

Reads only ``metadata`` and ``status`` of Pods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import orjson

from millrace_core.base import signals
from millrace_operators.modeldeployment.pod import FETCH

# Waiting reasons that are part of every start.
_USUAL: Final = ("ContainerCreating", "PodInitializing")
# Waiting for the next try: what matters is why the last one failed.
_BACKING_OFF: Final = "CrashLoopBackOff"
# What a pod is at whose containers of this kind run.
_AT: Final = {"initContainerStatuses": "fetching the model", "containerStatuses": "loading the model"}
OUT_OF_MEMORY: Final = "OOMKilled"
# What a fetch says of its node's cache.
CACHE_HIT: Final = "hit"
CACHE_STORED: Final = "stored"


class Fetched(NamedTuple):
    """The model as a pod's fetch measured it: its digest, and the bytes of all its files."""

    digest: str
    bytes: int


class CacheUse(NamedTuple):
    """What the fetches of pods say of the caches of their nodes: nodes that keep the model, pods that got it there."""

    nodes: int
    hits: int


class Measurement(NamedTuple):
    """What one pod measured, and when (RFC 3339); sorts the first one first."""

    at: str
    pod: str
    uid: str
    model: Fetched


class Failure(NamedTuple):
    """What keeps a pod from serving; ``fetching`` where it is the model that could not be had."""

    reason: str
    message: str
    fetching: bool = False


def measurements(pods: Iterable[Mapping[str, Any]]) -> list[Measurement]:
    """What the finished fetches of pods that stay report, first one first."""
    found = []
    for pod, at, message in _fetches(pods):
        digest, size = message.get("digest"), message.get("bytes", 0)
        if isinstance(digest, str) and isinstance(size, int):
            metadata = pod["metadata"]
            found.append(Measurement(at, metadata["name"], metadata.get("uid", ""), Fetched(digest, size)))
    return sorted(found)


def cache_use(pods: Iterable[Mapping[str, Any]]) -> CacheUse | None:
    """What pods that stay found in the caches of their nodes; None where no node has a cache."""
    uses = [((pod.get("status") or {}).get("hostIP"), message.get("cache")) for pod, _, message in _fetches(pods)]
    if not any(use for _, use in uses):
        return None
    return CacheUse(
        nodes=len({node for node, use in uses if use in (CACHE_HIT, CACHE_STORED)}),
        hits=sum(use == CACHE_HIT for _, use in uses),
    )


def _fetches(pods: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str, dict[str, Any]]]:
    """Pods that stay and whose fetch succeeded, with the time of its end and what it says."""
    for pod in pods:
        for status in _statuses(pod, "initContainerStatuses") if not pod["metadata"].get("deletionTimestamp") else ():
            terminated = (status.get("state") or {}).get("terminated") or {}
            if status.get("name") == FETCH and terminated.get("exitCode") == 0:
                yield pod, str(terminated.get("finishedAt") or ""), _json(terminated.get("message"))


def failure(pods: Iterable[Mapping[str, Any]], memory: Mapping[str, str] | None = None) -> Failure | None:
    """The first thing that keeps a pod from serving, oldest pod first; None where all serve or are on their way.

    Args:
        memory: limits of memory by container.
    """
    for pod in sorted(pods, key=lambda pod: pod["metadata"].get("creationTimestamp", "")):
        if not pod["metadata"].get("deletionTimestamp") and not _ready(pod):
            found = _of_pod(pod, memory or {})
            if found is not None:
                return found
    return None


def crashes(pods: Iterable[Mapping[str, Any]], memory: Mapping[str, str] | None = None) -> str:
    """How often containers of pods that serve were ended before, and how the last of them; empty where none was."""
    count, last_at, last = 0, "", ""
    for pod in pods:
        for status in _statuses(pod, "containerStatuses") if not pod["metadata"].get("deletionTimestamp") else ():
            ended = (status.get("lastState") or {}).get("terminated") or {}
            if not _ready(pod) or not status.get("restartCount") or not ended.get("exitCode"):
                continue
            count += status["restartCount"]
            at = str(ended.get("finishedAt") or "")
            if at >= last_at:
                found = _of_exit(status["name"], ended, (memory or {}).get(status["name"], ""), fetching=False)
                last_at, last = at, f"{found.reason}: {found.message}"
    return f"containers were ended and started again {count} times, at {last_at} for {last}" if count else ""


def starting(pods: Iterable[Mapping[str, Any]]) -> str:
    """What pods that do not serve yet are at, and since when; empty where nothing is known."""
    found: dict[str, list[str]] = {}
    for pod in pods:
        if pod["metadata"].get("deletionTimestamp") or _ready(pod):
            continue
        running = [
            (at, (status.get("state") or {}).get("running") or {})
            for field, at in _AT.items()
            for status in _statuses(pod, field)
        ]
        since = [(at, str(each.get("startedAt") or "")) for at, each in running if each]
        if since:
            found.setdefault(since[0][0], []).append(since[0][1])
    counted = ((at, min(moments), len(moments)) for at, moments in found.items())
    return " and ".join(f"{count} {'is' if count == 1 else 'are'} {at} since {since}" for at, since, count in counted)


def ready(pods: Iterable[Mapping[str, Any]]) -> int:
    """How many pods are ready and stay."""
    return sum(_ready(pod) and not pod["metadata"].get("deletionTimestamp") for pod in pods)


def _of_pod(pod: Mapping[str, Any], memory: Mapping[str, str]) -> Failure | None:
    for status in _statuses(pod, "initContainerStatuses"):
        if (found := _of_container(status, memory, fetching=True)) is not None:
            return found
    for status in _statuses(pod, "containerStatuses"):
        if (found := _of_container(status, memory, fetching=False)) is not None:
            return found
    for item in (pod.get("status") or {}).get("conditions") or []:
        if item["type"] == "PodScheduled" and item["status"] == "False":
            return Failure(item.get("reason") or "Unschedulable", item.get("message") or "the pod cannot be scheduled")
    return None


def _of_container(status: Mapping[str, Any], memory: Mapping[str, str], *, fetching: bool) -> Failure | None:
    state, last = status.get("state") or {}, status.get("lastState") or {}
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last.get("terminated") or {}
    if ended.get("exitCode", 0) != 0:
        return _of_exit(status["name"], ended, memory.get(status["name"], ""), fetching=fetching)
    reason = waiting.get("reason")
    if reason and reason not in _USUAL and reason != _BACKING_OFF:
        return Failure(reason, f"{status['name']}: {waiting.get('message') or reason}")
    return None


def _of_exit(container: str, ended: Mapping[str, Any], memory: str, *, fetching: bool) -> Failure:
    error = _json(ended.get("message")).get("error") or {}
    if error:
        field = f"{error['field']}: " if error.get("field") else ""
        default = "FetchFailed" if fetching else "ServerFailed"
        return Failure(error.get("reason") or default, f"{field}{error.get('message', '')}", fetching)
    text = str(ended.get("message") or "").strip() or "it left no message; see its log"
    reason = ended.get("reason") or ""
    if reason == OUT_OF_MEMORY:
        limit = f" of {memory}" if memory else ""
        field = "the operator's setting MILLRACE_FETCH_RESOURCES" if fetching else "spec.resources.limits.memory"
        message = f"{container} was killed for want of memory, its limit{limit} was reached; raise {field}"
        return Failure(reason, message, fetching)
    named = reason if reason not in ("", "Error", "Completed") else "ContainerCrashed"
    how = signals.ended(ended["exitCode"], ended.get("signal") or 0)
    return Failure(named, f"{container} {how}: {text}", fetching)


def _ready(pod: Mapping[str, Any]) -> bool:
    found = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in found)


def _statuses(pod: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    return (pod.get("status") or {}).get(field) or []


def _json(text: object) -> dict[str, Any]:
    try:
        parsed = orjson.loads(str(text))
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
