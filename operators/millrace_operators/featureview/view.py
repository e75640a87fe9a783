"""A feature view as its author wants it, and what follows from its schedule alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.api.materialization import Materialization
from millrace_core.base import cron, duration
from millrace_core.base.cron import Cron
from millrace_core.features.definition.definition import Definition
from millrace_operators.featureview.progress import MaterializationProgress


@dataclass(frozen=True)
class View:
    """An accepted feature view.

    Args:
        definition: the spec, compiled.
        command: the annotation ``millrace.dev/command``.
        handled: the command that was handled last; ``command_result``: what became of it.
        changed: whether the spec has changed since status was last written.
    """

    namespace: str
    name: str
    uid: str
    spec: FeatureViewSpec
    definition: Definition
    command: str = ""
    handled: str = ""
    command_result: str | None = None
    changed: bool = False


def schedule_of(materialization: Materialization) -> Cron:
    """``spec.materialization.schedule``.

    Raises:
        RejectError: it is no cron line.
    """
    return cron.parse(materialization.schedule, field="spec.materialization.schedule")


def lag_of(materialization: Materialization | None) -> timedelta:
    """``spec.materialization.lag``."""
    if materialization is None:
        return timedelta(0)
    return timedelta(microseconds=duration.microseconds(materialization.lag, field="spec.materialization.lag"))


def stale_at(materialization: Materialization, progress: MaterializationProgress) -> datetime | None:
    """When the watermark is too old.

    The first run scheduled after watermark + lag must move it, and is given a whole period to do so: the watermark is
    too old at the scheduled time after that. None for a schedule that ends.
    """
    schedule = schedule_of(materialization)
    missed = schedule.after((progress.watermark or progress.backfill_to) + lag_of(materialization))
    return schedule.after(missed) if missed else None
