"""A view as its author left it, and what follows from its schedule alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from millrace_core.api.featureview import FeatureViewSpec, Materialization
from millrace_core.base import cron, duration
from millrace_core.base.cron import Cron
from millrace_operators.featureview.progress import Progress


@dataclass(frozen=True)
class View:
    """A feature view, and the last command that was handled.

    Args:
        command: the annotation ``millrace.dev/command``.
        changed: whether the spec has changed since status was last written.
    """

    namespace: str
    name: str
    uid: str
    spec: FeatureViewSpec
    command: str = ""
    handled: str = ""
    command_result: str | None = None
    changed: bool = False


def schedule_of(materialization: Materialization) -> Cron:
    """``spec.materialization.schedule``.

    Raises:
        RejectError: it is no cron line.
    """
    return _parsed(materialization.schedule)


@lru_cache(maxsize=1024)
def _parsed(line: str) -> Cron:
    """Parsed once: many views share a line."""
    return cron.parse(line, field="spec.materialization.schedule")


def lag_of(materialization: Materialization) -> timedelta:
    """``spec.materialization.lag``."""
    return timedelta(microseconds=duration.microseconds(materialization.lag, field="spec.materialization.lag"))


def stale_at(materialization: Materialization, progress: Progress) -> datetime | None:
    """When the watermark comes to lie before the scheduled time before last, less the lag: the run of that time has
    then been given a whole period. None for a schedule that ends."""
    schedule = schedule_of(materialization)
    missed = schedule.after((progress.watermark or progress.backfill_to) + lag_of(materialization))
    return schedule.after(missed) if missed else None
