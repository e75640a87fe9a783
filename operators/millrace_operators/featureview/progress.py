"""What has been materialized so far: the stored status, with the results of runs folded into it.

Folding is idempotent and needs no memory, so a restart at any moment changes nothing. Only runs of the present
definition count. A definition is identified by its schema hash and by when it was first seen (``backfillTo``). So going
back to an earlier definition starts anew, too: its rows have been overwritten meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.base import timestamps
from millrace_core.features.definition.quality import Check
from millrace_core.features.offline.quality_verdict import judge_errors
from millrace_operators.featureview import intervals
from millrace_operators.featureview.intervals import Interval
from millrace_operators.featureview.runs import Quality, Run, RunResult, RunState

# Failing ones come first.
MOST_RESULTS: Final = 64


@dataclass(frozen=True)
class LastRun:
    """The run that finished last; ``errors``: for how many rows the expression of a feature failed, by feature."""

    name: str
    succeeded: bool
    finished_at: datetime
    rows: int | None = None
    written: int | None = None
    seconds: float | None = None
    errors: Mapping[str, int] | None = None
    later: int | None = None
    removed: int | None = None
    reason: str | None = None
    message: str | None = None

    @property
    def turn(self) -> tuple[datetime, bool]:
        """For comparing runs. Times are whole seconds; of two runs in one second the success counts as the later."""
        return self.finished_at, self.succeeded


@dataclass(frozen=True)
class MaterializationProgress:
    """What is covered, by which definition.

    Args:
        backfill_to: end of what backfills cover, fixed when the definition was first seen.
        watermark: end of the newest covered interval.
        keys: keys in the online store, as the last successful run counted them.
        quality: what came of the quality checks in the last run that made them.
    """

    schema_hash: str
    backfill_to: datetime
    covered: tuple[Interval, ...] = ()
    watermark: datetime | None = None
    last_run: LastRun | None = None
    keys: int | None = None
    quality: Quality = None

    @property
    def definition(self) -> str:
        """Identifies the Jobs of this definition."""
        return f"{self.schema_hash}@{timestamps.render(self.backfill_to)}"


def stored(status: Mapping[str, Any], schema_hash: str) -> MaterializationProgress | None:
    """The progress that the status holds; None where it holds none of this definition."""
    if status.get("schemaHash") != schema_hash or not status.get("backfillTo"):
        return None
    watermark = status.get("watermark")
    return MaterializationProgress(
        schema_hash=schema_hash,
        backfill_to=timestamps.parse(status["backfillTo"]),
        covered=intervals.merge(map(intervals.parse, status.get("intervals") or ())),
        watermark=timestamps.parse(watermark) if watermark else None,
        last_run=_last_run(status.get("lastRun")),
        keys=(status.get("online") or {}).get("keys"),
        quality=tuple(status["quality"]) if status.get("quality") else None,
    )


def begun(schema_hash: str, now: datetime, lag: timedelta) -> MaterializationProgress:
    """The progress of a definition that is seen for the first time."""
    return MaterializationProgress(schema_hash, (now - lag).replace(microsecond=0))


def fold(
    progress: MaterializationProgress, observed: Iterable[Run], error_checks: Sequence[Check] = ()
) -> MaterializationProgress:
    """The progress with what finished runs of its definition did; ``error_checks`` are the definition's."""
    finished = [run for run in observed if run.definition == progress.definition and run.finished_at is not None]
    covered, last, keys, quality = list(progress.covered), progress.last_run, progress.keys, progress.quality
    for run in sorted(finished, key=lambda run: (run.finished_at, run.state is RunState.SUCCEEDED, run.name)):
        if run.result is not None:
            covered = list(intervals.merge([*covered, _covered(run.result.interval, run.requested, covered)]))
        ended = _ended(run)
        if ended is not None and (last is None or ended.turn >= last.turn):
            last = ended
            keys = run.result.keys if run.result and run.result.keys is not None else keys
            report = run.result or run.failure
            quality = (report and report.quality) or quality
            if run.result is not None:
                quality = _with_errors(quality, run.result, error_checks)
    return MaterializationProgress(
        schema_hash=progress.schema_hash,
        backfill_to=progress.backfill_to,
        covered=tuple(covered),
        watermark=covered[-1].end if covered else None,
        last_run=last,
        keys=keys,
        quality=quality,
    )


def lost(progress: MaterializationProgress) -> MaterializationProgress:
    """The progress where the online store has lost all rows: nothing is covered. What runs found stays told."""
    return replace(progress, covered=(), watermark=None, keys=0)


def render(progress: MaterializationProgress) -> dict[str, Any]:
    """The fields of status."""
    last = progress.last_run
    return {
        "schemaHash": progress.schema_hash,
        "backfillTo": timestamps.render(progress.backfill_to),
        "intervals": [intervals.render(interval) for interval in progress.covered] or None,
        "watermark": timestamps.render(progress.watermark) if progress.watermark else None,
        "lastRun": _render_run(last) if last else None,
        "online": {"keys": progress.keys} if progress.keys is not None else None,
        "quality": [dict(result) for result in progress.quality[:MOST_RESULTS]] if progress.quality else None,
    }


def _with_errors(quality: Quality, result: RunResult, checks: Sequence[Check]) -> Quality:
    """The results with those of the checks of expressions that warn: only here all shards of the run are known."""
    warning = [check for check in checks if check.rule.severity == "warn"]
    names = {check.name for check in warning}
    others = [each for each in quality or () if each.get("name") not in names]
    made = [each.as_dict() for each in judge_errors(warning, result.errors, result.rows or 0)]
    in_order = sorted([*others, *made], key=lambda each: (bool(each.get("passed")), str(each.get("severity"))))
    return tuple(in_order) or None


def _covered(interval: Interval, requested: Interval | None, covered: list[Interval]) -> Interval:
    """What a successful run covers.

    A run for an interval covers it up to the run's own end: what was asked for may reach beyond now, and no run does.
    Any other run began at the store's own watermark, which the store moves only over what is complete: so nothing is
    missing before it.
    """
    if requested is not None:
        return Interval(requested.start, interval.end)
    if covered and covered[-1].end < interval.start:
        return Interval(covered[-1].end, interval.end)
    return interval


def _ended(run: Run) -> LastRun | None:
    if run.finished_at is None or run.state not in (RunState.SUCCEEDED, RunState.FAILED):
        return None
    result, failure = run.result, run.failure
    return LastRun(
        name=run.name,
        succeeded=run.state is RunState.SUCCEEDED,
        finished_at=run.finished_at,
        rows=result.rows if result else None,
        written=result.written if result else None,
        seconds=result.seconds if result else None,
        errors=(result.errors if result else None) or None,
        later=result.later if result else None,
        removed=result.removed if result else None,
        reason=failure.reason if failure else None,
        message=failure.message if failure else None,
    )


def _last_run(document: Mapping[str, Any] | None) -> LastRun | None:
    if not document or not document.get("finishedAt"):
        return None
    return LastRun(
        name=document["name"],
        succeeded=document["succeeded"],
        finished_at=timestamps.parse(document["finishedAt"]),
        rows=document.get("rows"),
        written=document.get("written"),
        seconds=document.get("seconds"),
        errors=document.get("expressionErrors"),
        later=document.get("later"),
        removed=document.get("removed"),
        reason=document.get("reason"),
        message=document.get("message"),
    )


def _render_run(last: LastRun) -> dict[str, Any]:
    fields = {
        "name": last.name,
        "succeeded": last.succeeded,
        "rows": last.rows,
        "written": last.written,
        "seconds": last.seconds,
        "expressionErrors": dict(last.errors) if last.errors else None,
        "later": last.later,
        "removed": last.removed,
        "finishedAt": timestamps.render(last.finished_at),
        "reason": last.reason or (None if last.succeeded else conditions.RUN_FAILED),
        "message": last.message,
    }
    return {name: value for name, value in fields.items() if value is not None}
