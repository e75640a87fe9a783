"""Status conditions: lists of ``{type, status, reason, message, lastTransitionTime}``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from millrace_local.client.resources import Obj
from millrace_local.client.times import stamp

_WORDS = {True: "True", False: "False", None: "Unknown"}


def condition(conditions: Sequence[Obj] | None, kind: str) -> Obj | None:
    """The condition of this type, if there is one."""
    return next((entry for entry in conditions or [] if entry.get("type") == kind), None)


def is_true(conditions: Sequence[Obj] | None, kind: str) -> bool:
    """Whether the condition of this type is there and has status True."""
    found = condition(conditions, kind)
    return found is not None and found.get("status") == "True"


def with_condition(
    conditions: Sequence[Obj] | None,
    kind: str,
    status: bool | None,
    reason: str,
    message: str,
    *,
    now: datetime,
    **more: str,
) -> list[Obj]:
    """The conditions with this one set (None is Unknown); its transition time changes only when its status does.

    ``more`` are further fields, such as ``lastUpdateTime`` of a Deployment's condition.
    """
    known = condition(conditions, kind)
    word = _WORDS[status]
    since = known["lastTransitionTime"] if known and known.get("status") == word else stamp(now)
    # Fields that only the API server knows of are kept, or each look would find a difference.
    entry = {
        **(known or {}),
        "type": kind,
        "status": word,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
        **more,
    }
    others = list(conditions or [])
    if known is None:
        return [*others, entry]
    return [entry if other is known else other for other in others]


def without(conditions: Sequence[Obj] | None, kind: str) -> list[Obj]:
    """The conditions without this type."""
    return [entry for entry in conditions or [] if entry.get("type") != kind]
