"""A run: the latest visible row per entity of a stretch of event time, from the source into the online store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from millrace.features import times
from millrace.features.definition import Definition
from millrace.features.engine import Engine
from millrace.features.history import Source
from millrace.features.latest import latest, window
from millrace.online.patience import patiently
from millrace.online.store import Store
from millrace.online.writer import RowWriter

# Told the rows handed to the store so far, and the share of the source that has been read with them.
Progress = Callable[[int, float], None]


@dataclass(frozen=True)
class Stretch:
    """Event times after ``after`` (None: from the beginning) up to and including ``upto``, in microseconds."""

    after: int | None
    upto: int

    @property
    def empty(self) -> bool:
        """Whether nothing can be in it."""
        return self.after is not None and self.after >= self.upto


@dataclass(frozen=True)
class Result:
    """What a run did: ``rows`` had the latest of their entity, ``written`` of them were newer than what was there."""

    definition: Definition
    stretch: Stretch
    rows: int
    written: int
    skipped: int
    keys: int


def stretch(
    definition: Definition, watermark: int | None, now: int, start: int | None = None, end: int | None = None
) -> Stretch:
    """What a run covers: what was asked for, else all since the watermark up to ``now - lag``.

    ``spec.materialization.startFrom`` itself is covered: a row of exactly that moment belongs to the view.
    """
    since = None if definition.start_from is None else definition.start_from - 1
    upto = now - definition.lag if end is None else end
    if start is not None or end is not None:
        return Stretch(since if start is not None and start == definition.start_from else start, upto)
    return Stretch(since if watermark is None else watermark, upto)


def run(
    definition: Definition,
    source: Source,
    store: Store,
    engine: Engine,
    covers: Stretch,
    *,
    patience: float,
    progress: Progress = lambda rows, done: None,  # noqa: ARG005 nobody is told by default
) -> Result:
    """Materializes a stretch. Running it again, or any other in between, is harmless.

    The watermark moves only when every row is acknowledged, and only where nothing before the stretch is missing.

    Raises:
        MillraceError: why it failed; the store then holds some of the rows, and the watermark has not moved.
    """
    rows = written = skipped = 0
    if not covers.empty:
        patiently(lambda: store.announce(definition), patience)
        with RowWriter(store, definition, patience).running() as writer:
            for batch in latest(definition, source, window(definition, covers.after, covers.upto), engine):
                writer.write(batch)
                rows += len(batch.event_times)
                progress(rows, batch.done)
        written, skipped = writer.written.changed, writer.written.skipped
        if _reaches_back(definition, covers, store.watermark(definition)):
            store.advance(definition, covers.upto)
    keys = store.count(definition.project, definition.view)
    return Result(definition, covers, rows, written, skipped, keys)


def _reaches_back(definition: Definition, covers: Stretch, watermark: int | None) -> bool:
    """Whether all before the stretch is covered already, or need not be."""
    begins = [moment for moment in (watermark, definition.start_from) if moment is not None]
    return covers.after is None or any(covers.after <= moment for moment in begins)


def as_dict(result: Result, seconds: float, finished_at: int) -> dict[str, object]:
    """The result as docs/parts.md has it."""
    after = result.stretch.after
    since = result.definition.start_from
    # A start that was moved to take in startFrom itself is shown as startFrom.
    start = since if since is not None and after == since - 1 else after
    return {
        "view": result.definition.view,
        "schemaHash": result.definition.schema_hash,
        "interval": {
            "start": None if start is None else times.render(start),
            "end": times.render(result.stretch.upto),
        },
        "rows": result.rows,
        "written": result.written,
        "skipped": result.skipped,
        "keys": result.keys,
        "seconds": round(seconds, 3),
        "finishedAt": times.render(finished_at),
    }
