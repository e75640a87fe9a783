"""Conditions in the statuses of Kubernetes' own kinds; ``millrace_core.api.conditions`` finds and reads them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from millrace_core.api.conditions import condition, find
from millrace_kube.resources import Object
from millrace_kube.times import stamp


def with_condition(
    conditions: Sequence[Object] | None,
    kind: str,
    holds: bool | None,
    reason: str,
    message: str,
    *,
    now: datetime,
    **more: str,
) -> list[Object]:
    """The conditions with this one set (None is Unknown); its transition time changes only when its status does.

    ``more`` are further fields, such as ``lastUpdateTime`` of a Deployment's condition.
    """
    before = find(conditions, kind)
    now_said = condition(kind, holds, reason, message)
    unchanged = before is not None and before.get("status") == now_said["status"]
    since = before["lastTransitionTime"] if before and unchanged else stamp(now)
    # Fields that only the API server knows of are kept, or each look would find a difference.
    entry = {**(before or {}), **now_said, "lastTransitionTime": since, **more}
    if before is None:
        return [*(conditions or ()), entry]
    return [entry if other is before else other for other in conditions or ()]


def without(conditions: Sequence[Object] | None, kind: str) -> list[Object]:
    """The conditions without this type."""
    return [entry for entry in conditions or () if entry.get("type") != kind]
