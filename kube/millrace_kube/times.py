"""Times as Kubernetes writes them; ``millrace_core.base.timestamps`` reads them."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present time."""
    return datetime.now(UTC)


def stamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as ``metav1.Time``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_stamp(moment: datetime) -> str:
    """RFC 3339 with microseconds, as ``metav1.MicroTime``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
