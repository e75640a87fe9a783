"""A run: the latest visible row per entity of an interval of event time, from the source into the online store."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.history.history import NO_CREATED, DescribedSource, HistorySource, TimeRange
from millrace_core.features.offline import snapshot
from millrace_core.features.offline.latest import latest, time_range
from millrace_core.features.offline.quality_verdict import (
    CheckResult,
    QualityBaseline,
    QualityVerdict,
    judge_errors,
)
from millrace_core.features.online.generation import Generation
from millrace_core.features.online.shard import Shard, ShardedSource
from millrace_core.features.types import times
from millrace_core.features.types.conform import microseconds
from millrace_data.materialization.examination import Examination
from millrace_data.materialization.later_rows import LaterRows
from millrace_data.materialization.ledger import (
    Ledger,
    Position,
    Replaces,
    RunInterval,
    RunShard,
    SupersededError,
)
from millrace_data.online.patience import patiently
from millrace_data.online.store import Store
from millrace_data.online.sweeping import sweep
from millrace_data.online.writer import RowWriter
from millrace_data.sources.cell_log import CellLog, CellLogRun

_LOWEST: Final = -(2**63)

# Called with the number of rows handed to the store so far, and the share (0 to 1) of the source read for them.
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class RunRequest:
    """What a run is to cover: ``full`` is everything, else event times after ``start`` up to ``end`` (microseconds),
    else what is new."""

    start: int | None = None
    end: int | None = None
    full: bool = False


@dataclass(frozen=True)
class Result:
    """What a run did: ``rows`` had the latest of their entity, ``written`` of them were newer than what was there.

    ``errors``: for how many of the rows the expression of a feature failed, by feature; its value is null for them.
    ``removed``: keys that are gone, because the source no longer has them. ``complete``: whether the run has come to
    its end; not while other shards of it are missing. ``later``: rows of the source that are later than now
    (``later_rows``); None where the run does not reach the present.
    """

    definition: Definition
    interval: RunInterval
    rows: int
    written: int
    skipped: int
    keys: int
    complete: bool
    quality: tuple[CheckResult, ...] = ()
    removed: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    later: int | None = None


def run_interval(
    definition: Definition, position: Position, now: int, request: RunRequest = RunRequest()
) -> RunInterval:
    """What a run covers: what ``request`` says, else all since the watermark up to ``now - lag``.

    ``spec.materialization.startFrom`` itself is covered: a row of exactly that moment belongs to the view. What is new
    includes what came late: event times are read again from ``lateness`` before the watermark on, and, where rows have
    created times, those that were written since the last run, whatever their event time. Writers' clocks differ, and a
    row may be seen some time after it was created; so that is counted from ``lag`` and ``lateness`` earlier. No run
    reaches beyond now: rows that are later are none yet.

    A run over everything is a pass: a full one replaces all that was there, the first one of a definition what former
    definitions have written.
    """
    upto = now - definition.lag if request.end is None else min(request.end, now)
    since = _since(definition)
    first = Replaces.FORMER if position.watermark is None else Replaces.NOTHING
    if request.start is not None or request.end is not None:
        start = since if request.start == definition.start_from else request.start
        return RunInterval(start, upto, began=now, replaces=first if start in (None, since) else Replaces.NOTHING)
    if request.full or position.watermark is None:
        return RunInterval(since, upto, began=now, replaces=Replaces.ALL if request.full else first)
    after = max(position.watermark - definition.lateness, _since(definition) or _LOWEST, _LOWEST)
    if definition.created_field is None:
        return RunInterval(after, upto, began=now, known=position.watermark)
    written = NO_CREATED if position.created is None else position.created - definition.lag - definition.lateness
    return RunInterval(after, upto, max(written, _LOWEST), now, position.watermark)


def run(
    definition: Definition,
    source: DescribedSource,
    store: Store,
    engine: Engine,
    covers: RunInterval,
    *,
    patience: float,
    progress: Progress = lambda rows, done: None,  # noqa: ARG005 nobody watches by default
    part: RunShard | None = None,
    cells: CellLog | None = None,
) -> Result:
    """Materializes an interval. Running it again, or any other in between, is harmless.

    The watermark moves only when every row is acknowledged, and only where nothing before the interval is missing.

    Args:
        covers: what ``begin`` gave; where that was not called, it is, and a pass then must not have opened its source.
        part: which shard of the entities, where several processes run together; None takes all.
        cells: through which the source is read, where the view asks for it.

    Raises:
        QualityBlockedError: a quality check does not let the rows pass; nothing was written.
        StoreRestartedError: the store was restarted, replaced or emptied meanwhile, so rows may be lost.
        SupersededError: a pass of the view began meanwhile.
        MillraceError: why it failed. The store then holds some of the rows, and the watermark has not moved.
    """
    rows = written = skipped = 0
    errors: Counter[str] = Counter()
    ledger, verdict = Ledger(store, definition), QualityVerdict()
    if covers.generation is None:
        covers = begin(ledger, covers, part, patience)
    shard = None if part is None else part.shard
    shared = source if shard is None else ShardedSource(source, definition, shard)
    log_run = CellLogRun(covers.began, covers.news, shard)
    counted = LaterRows(shared, definition, covers)
    read = _Read(counted if cells is None else cells.over(counted, source.columns, log_run), definition)
    if pieces := time_ranges(definition, read, covers):
        examined = Examination(definition, source, ledger, engine, covers, patience)
        verdict = examined.verdict(news(definition, covers), pieces, part)
        patiently(lambda: store.announce(definition), patience)
        with _writer(store, definition, covers, patience).running() as writer:
            for place, within in enumerate(pieces):
                for batch in latest(definition, read, within, engine):
                    writer.write(batch)
                    rows += len(batch.event_times)
                    errors.update(batch.errors)
                    progress(rows, (place + batch.done) / len(pieces))
        written, skipped = writer.written.changed, writer.written.skipped
    created, memory = _created(definition, covers, read), verdict.baseline if verdict.outcomes else None
    complete, removed = _ended(store, ledger, covers, created, part, memory, patience)
    keys = patiently(lambda: store.count(definition.project, definition.view), patience)
    outcomes = (*verdict.outcomes, *_warnings(definition, errors, rows, part))
    return Result(definition, covers, rows, written, skipped, keys, complete, outcomes, removed, errors, counted.count)


def _warnings(
    definition: Definition, errors: Mapping[str, int], rows: int, part: RunShard | None
) -> tuple[CheckResult, ...]:
    """The results of the checks of expressions that only warn. Of a shard there are none: a check is of a whole run."""
    checks = [check for check in definition.error_checks if check.rule.severity == "warn"] if part is None else []
    return judge_errors(checks, errors, rows)


def begin(ledger: Ledger, covers: RunInterval, part: RunShard | None, patience: float) -> RunInterval:
    """Begins a run, or joins the other shards of one: what it covers, and its generation.

    A pass opens its source after this, so that it sees what was pushed to the source's log before.
    """
    return patiently(lambda: ledger.begin(_whole(covers, part), covers), patience)


def _whole(covers: RunInterval, part: RunShard | None) -> RunShard:
    return part or RunShard(f"whole-{covers.began}", Shard(0, 1))


def _writer(store: Store, definition: Definition, covers: RunInterval, patience: float) -> RowWriter:
    started = time.monotonic()
    return RowWriter(
        store,
        definition,
        patience,
        now=lambda: covers.began + int(1e6 * (time.monotonic() - started)),
        generation=Generation(covers.generation or 0, covers.doubtful),
        # The first run of a definition needs none: rows of another schema give way by themselves.
        full_pass=covers.full_pass if covers.replaces == Replaces.ALL else None,
    )


def _ended(
    store: Store,
    ledger: Ledger,
    covers: RunInterval,
    created: int | None,
    part: RunShard | None,
    memory: QualityBaseline | None,
    patience: float,
) -> tuple[bool, int]:
    """Sweeps, where the run is a pass and all its shards are written, and ends it: whether it is complete, and how many
    keys are gone."""
    whole, removed = _whole(covers, part), 0
    try:
        if covers.since:
            if not patiently(lambda: ledger.written(covers, created, whole), patience):
                return False, 0
            removed = _swept(store, ledger, patience)
        return patiently(lambda: ledger.end(covers, created, whole, memory), patience), removed
    except SupersededError as error:
        if error.swept:  # so it has not met what this run wrote since
            _swept(store, ledger, patience)
        raise


def _swept(store: Store, ledger: Ledger, patience: float) -> int:
    found = patiently(ledger.last_pass, patience)
    if found is None:
        return 0
    definition = ledger.definition
    return patiently(lambda: sweep(store, definition.project, definition.view, *found), patience)


def time_ranges(definition: Definition, source: HistorySource, covers: RunInterval) -> list[TimeRange]:
    """What a run reads: what is new to it, but for snapshots all that they are made from."""
    if not definition.windowed or covers.empty:
        return news(definition, covers)
    if covers.known is None or covers.after is None:
        return [time_range(definition, covers.after, covers.upto)]
    return [snapshot.changed_range(definition, source, covers.known, covers.after, covers.upto, covers.created_after)]


def news(definition: Definition, covers: RunInterval) -> list[TimeRange]:
    """What is new to a run: its interval of event time, and before it the rows that were written late."""
    if covers.empty:
        return []
    within = [_new(definition, covers.after, covers.upto)]
    if covers.after is not None and covers.created_after is not None:
        earlier = _new(definition, _since(definition), covers.upto)
        within.append(earlier._replace(latest=covers.after, created_after=covers.created_after))
    return [each for each in within if each.earliest is None or each.earliest <= each.latest]


def _new(definition: Definition, after: int | None, upto: int) -> TimeRange:
    # A ttl rules rows, and snapshots see rows of any age.
    if definition.windowed:
        return TimeRange(None if after is None else after + 1, upto)
    return time_range(definition, after, upto)


def _since(definition: Definition) -> int | None:
    return None if definition.start_from is None else definition.start_from - 1


@dataclass
class _Read:
    """A source that remembers the newest created time that came by."""

    source: HistorySource
    definition: Definition
    newest: int = NO_CREATED

    def scan(self, columns: Sequence[str], within: TimeRange) -> Iterator[pa.RecordBatch]:
        """As the source's own."""
        created = self.definition.created_field
        for batch in self.source.scan(columns, within):
            if created is not None and created in columns:
                newest = pc.max(microseconds(batch.column(created), column=created)).as_py()
                self.newest = max(self.newest, NO_CREATED if newest is None else newest)
            yield batch


def _created(definition: Definition, covers: RunInterval, read: _Read) -> int | None:
    """Up to which created time all rows have been read, at this run's end. A created time that lies in the future says
    nothing of what is to come before it."""
    everything = covers.after is None or covers.after == _since(definition)
    if definition.created_field is None or covers.empty or not (everything or covers.created_after is not None):
        return None
    return min(read.newest, covers.began)


def as_dict(result: Result, seconds: float, finished_at: int) -> dict[str, object]:
    """The result as docs/parts.md has it."""
    after = result.interval.after
    since = result.definition.start_from
    # A start that was moved to take in startFrom itself is shown as startFrom.
    start = since if since is not None and after == since - 1 else after
    return {
        "view": result.definition.view,
        "schemaHash": result.definition.schema_hash,
        "interval": {
            "start": None if start is None else times.render(start),
            "end": times.render(result.interval.upto),
        },
        "rows": result.rows,
        "written": result.written,
        "skipped": result.skipped,
        "keys": result.keys,
        **({"removed": result.removed} if result.interval.since else {}),
        **({} if result.later is None else {"later": result.later}),
        "complete": result.complete,
        **({"expressionErrors": dict(result.errors)} if result.errors else {}),
        **({"quality": [each.as_dict() for each in result.quality]} if result.quality else {}),
        "seconds": round(seconds, 3),
        "finishedAt": times.render(finished_at),
    }
