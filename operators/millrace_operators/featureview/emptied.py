"""Whether the online store has lost a view that it had: it was emptied, or another one is in its place. Pure.

It is asked only of views whose status says that the store has them, or had them. What a run finds out by itself, when
the next one comes, is found out so within a minute.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from millrace_kube.resources import Object, name_of, namespace_of
from millrace_operators.facts.fact import Absent, Fact, Known
from millrace_operators.facts.stored_views import StoredWatermark

# How often the store is asked.
LOOK_SECONDS: Final = 30.0


class StoreRecord(StrEnum):
    """What the store has of a view. UNKNOWN: nothing, when that was last known; nothing is begun by that."""

    THERE = "there"
    GONE = "gone"
    UNKNOWN = "unknown"


def question(document: Object) -> StoredWatermark | None:
    """What is asked of the store before a turn; None where it never had the view."""
    had = (document.get("status") or {}).get("online") is not None
    return StoredWatermark(namespace_of(document), name_of(document)) if had else None


def record(status: Mapping[str, Any], fact: Fact[Any]) -> StoreRecord:
    """What the store has of a view with this status."""
    if isinstance(fact, Known):
        return StoreRecord.THERE
    if isinstance(fact, Absent):
        return StoreRecord.GONE
    gone_before = status.get("online") is not None and not status.get("watermark")
    return StoreRecord.UNKNOWN if gone_before else StoreRecord.THERE
