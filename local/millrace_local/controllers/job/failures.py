"""Failed pods: what ``podFailurePolicy`` says about each, and how long to wait before the next try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from millrace_core.base import timestamps
from millrace_kube.resources import Object
from millrace_local.controllers.pods import created, phase

LONGEST_BACKOFF = 600.0

Verdict = Literal["Count", "Ignore", "FailJob", "FailIndex"]


@dataclass(frozen=True)
class Judged:
    """What the policy says about one failed pod, and why."""

    verdict: Verdict = "Count"
    message: str = ""


def judge(pod: Object, policy: Mapping[str, Any] | None) -> Judged:
    """The action of the first rule that holds for the failed pod; ``Count`` where none does."""
    for number, rule in enumerate((policy or {}).get("rules") or []):
        if why := _by_exit_code(pod, rule.get("onExitCodes")) or _by_condition(pod, rule.get("onPodConditions")):
            action: Verdict = rule["action"] if rule["action"] in ("Ignore", "FailJob", "FailIndex") else "Count"
            return Judged(action, f"{why} matching {rule['action']} rule at index {number}")
    return Judged()


def _by_exit_code(pod: Object, rule: Mapping[str, Any] | None) -> str:
    if not rule:
        return ""
    status = pod.get("status") or {}
    for container in [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode", 0)
        named = rule.get("containerName") in (None, container["name"])
        listed = code in rule["values"]
        if code and named and listed == (rule["operator"] == "In"):
            metadata = pod["metadata"]
            where = f"pod {metadata['namespace']}/{metadata['name']}"
            return f"Container {container['name']} for {where} failed with exit code {code}"
    return ""


def _by_condition(pod: Object, patterns: Iterable[Mapping[str, Any]] | None) -> str:
    conditions = (pod.get("status") or {}).get("conditions") or []
    for pattern in patterns or []:
        for entry in conditions:
            if entry["type"] == pattern["type"] and entry["status"] == pattern.get("status", "True"):
                metadata = pod["metadata"]
                return f"Pod {metadata['namespace']}/{metadata['name']} has condition {entry['type']}"
    return ""


def finished_at(pod: Object) -> datetime:
    """When its last container ended; for a pod without containers' times, when it was created or deleted."""
    ends = [
        container["state"]["terminated"]["finishedAt"]
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        if ((container.get("state") or {}).get("terminated") or {}).get("finishedAt")
    ]
    if ends:
        return max(timestamps.parse(end) for end in ends)
    deleted = pod["metadata"].get("deletionTimestamp")
    return timestamps.parse(deleted) if deleted else created(pod)


def seconds_to_wait(pods: Iterable[Object], failed: Iterable[Object], base: float, now: datetime) -> float:
    """How long to wait before the next pod: ``base`` seconds after one failure, doubled for each one more in a row.

    It is read off the pods themselves, so a restart of the controller forgets nothing. A success ends the row.
    """
    success = max((finished_at(pod) for pod in pods if phase(pod) == "Succeeded"), default=None)
    ends = [end for end in map(finished_at, failed) if success is None or end > success]
    if not ends:
        return 0.0
    return seconds_after(max(ends), len(ends), base, now)


def seconds_after(last: datetime, failures: int, base: float, now: datetime) -> float:
    """How long to wait after so many failures in a row, the last of which ended then."""
    delay = min(base * 2 ** min(failures - 1, 30), LONGEST_BACKOFF)
    return max(0.0, (last + timedelta(seconds=delay) - now).total_seconds())
