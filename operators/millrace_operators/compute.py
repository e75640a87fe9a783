"""Requests and limits of CPU and memory, which every container has: without them a ResourceQuota refuses its pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace_core.base.quantities import quantity

Object = dict[str, Any]


def complete(stated: Mapping[str, Any] | None, defaults: Mapping[str, Any]) -> Object:
    """``resources`` of a container: what is stated as it stands, and what is not from the defaults.

    A stated limit is the request, too, where none is stated, as Kubernetes has it. A stated request above the default
    limit raises the limit.
    """
    stated = stated or {}
    requests, limits = dict(stated.get("requests") or {}), dict(stated.get("limits") or {})
    for name, amount in (defaults.get("requests") or {}).items():
        requests.setdefault(name, limits.get(name, amount))
    for name, amount in (defaults.get("limits") or {}).items():
        limits.setdefault(name, max(amount, requests.get(name, amount), key=quantity))
    return {"requests": requests, "limits": limits}


def memory_limits(owner: Mapping[str, Any] | None) -> dict[str, str]:
    """Limits of memory by container, init containers too, of what has a pod template; None has none."""
    pod = ((owner or {}).get("spec") or {}).get("template", {}).get("spec") or {}
    containers = [*(pod.get("initContainers") or ()), *(pod.get("containers") or ())]
    stated = {each["name"]: ((each.get("resources") or {}).get("limits") or {}).get("memory") for each in containers}
    return {name: str(limit) for name, limit in stated.items() if limit}
