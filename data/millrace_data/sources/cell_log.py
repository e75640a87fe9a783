"""A cell log over any source (``spec.aggregation.partials``), so that a run asks the source for new cells only.

What stands in the log are the source's own rows, after the row filter and of the run's shard of entities alone, in the
source's own order, with the columns that snapshots are made from: what comes of them is to the last bit what comes of
the source itself, as it was when they were read. Rows of equal event and created times that the source has put into
another order since then keep the one that they had.

A run that goes on from a watermark uses the log; any other reads the source, and writes its cells anew. A run's own log
is written when all of its rows have gone by, and says nothing of what becomes of them: a run that fails later need not
read them again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.names import digest
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import NO_CREATED, History, HistorySource, TimeRange
from millrace_core.features.online.shard import Shard
from millrace_core.features.types.conform import microseconds
from millrace_core.features.windows import cells
from millrace_core.features.windows.cells import CellRange, RunLog, Segment
from millrace_data.objects.faults import explained
from millrace_data.sources import bounds, row_groups
from millrace_data.sources.cell_files import URI_FIELD, CellFiles, CellWriter
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.push_log import log_schema
from millrace_data.sources.reading import Reading

logger = logging.getLogger(__name__)

_LOWEST: Final = -(2**63)
# After so long without a run, what another meaning or another number of shards has left is removed; and what a process
# left that was killed while it wrote.
_ABANDONED: Final = 7 * 86_400 * 1_000_000


@dataclass(frozen=True)
class CellLogRun:
    """What a cell log knows of the run that reads: it began at ``began`` (microseconds), and reads one shard.

    ``news``: whether it goes on from a watermark, and so may use what earlier ones wrote.
    """

    began: int
    news: bool
    shard: Shard | None = None


class CellLog:
    """The cell log of one view. Opening it touches no network.

    Raises:
        RejectError: the URI is wrong.
    """

    def __init__(self, definition: Definition, uri: str, credentials: Credentials) -> None:
        self._definition = definition
        self._files = CellFiles(uri, f"{definition.project}/{definition.view}", credentials)

    def check(self) -> None:
        """Looks whether the folder can be listed.

        Raises:
            MillraceError: why it cannot.
        """
        self._files.names()

    def over(self, source: HistorySource, types: Mapping[str, str], run: CellLogRun) -> HistorySource:
        """The source, read through the log.

        Args:
            source: the rows of the shard.
            types: of the source's columns, as it calls them.
            run: that reads.
        """
        return LoggedSource(self._definition, source, types, self._files, run)


def open_cell_log(definition: Definition, credentials: Credentials) -> CellLog | None:
    """The log that the view asks for, if it asks for one."""
    return None if definition.partials is None else CellLog(definition, definition.partials, credentials)


class LoggedSource:
    """Implements ``history.HistorySource`` over another and a log of it.

    Its own errors are those of the storage, as for sources. RetryError: a file went while it was read.
    """

    def __init__(
        self, definition: Definition, source: HistorySource, types: Mapping[str, str], files: CellFiles, run: CellLogRun
    ) -> None:
        self._definition = definition
        self._source = source
        self._types = types
        self._files = files
        self._run = run

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """As the source's own; a look for rows that came late is the source's alone."""
        if time_range.created_after is not None:
            yield from self._source.scan(columns, time_range)
            return
        shard = self._run.shard or Shard(0, 1)
        meaning = _meaning(self._definition, columns, self._types)
        scan = _Scan(self._definition, self._source, self._files, self._run, meaning, shard, columns, time_range)
        yield from scan.batches()


def _meaning(definition: Definition, columns: Sequence[str], types: Mapping[str, str]) -> str:
    """What decides which rows there are, with which columns, in which cells; 16 hex digits."""
    decisive = {
        "format": cells.FORMAT,
        "source": definition.source.model_dump(mode="json", exclude={"credentials_secret_ref"}),
        "keys": [[key.name, key.type] for key in definition.join_keys],
        "columns": sorted([name, types.get(name, "")] for name in columns),
        "every": definition.windows[0],
    }
    return digest(decisive)[:16]


@dataclass
class _Scan:
    """One reading of a window."""

    definition: Definition
    source: HistorySource
    files: CellFiles
    run: CellLogRun
    meaning: str
    shard: Shard
    columns: Sequence[str]
    time_range: TimeRange
    pieces: list[CellRange] = field(default_factory=list)
    newest: int = NO_CREATED

    def __post_init__(self) -> None:
        every, reach = self.definition.windows
        self.every = every
        self.folder = f"{self.meaning}/{self.shard.index}-of-{self.shard.count}"
        # What is still to come by the view's own lag is in no cell yet that can be called whole.
        self.upto = min(self.time_range.latest, self.run.began - self.definition.lag)
        self.bounds = ((self.time_range.latest - reach) // every, self.upto // every)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows of the window, those of the log in place of the source's; then the log of them is written."""
        names = self.files.names()
        base = self.files.log(self.folder, names.get(self.folder, ()), self.run.began)
        usable = self._usable(base) if base is not None and self.run.news else []
        fragments = self.files.readable(self.folder, usable, self.columns)
        usable = [piece for piece in usable if not piece.file or piece.file in fragments]
        for group in cells.groups(cells.segments(self.time_range, self.every, usable)):
            if len(group) == 1 and group[0].piece is not None:
                self.pieces.append(group[0].piece)
                rows = self._rows(group, fragments)
            else:
                rows = self._written(group, fragments)
            for batch in rows:
                self._note(batch)
                yield batch
        created = None if self.definition.created_field is None else min(self.newest, self.run.began)
        known = RunLog(self.run.began, self.upto, created, tuple(self.pieces))
        log = cells.following(base, known, self.bounds)
        self.files.write_log(self.folder, log)
        self._tidy(names, base, log)

    def _usable(self, base: RunLog) -> list[CellRange]:
        """What the log has of the window, but for cells in which rows may be that it has not."""
        first = base.pieces[0].first if base.pieces else 0
        if self.time_range.earliest is not None:
            first = max(first, (self.time_range.earliest - 1) // self.every)
        last = (base.upto - self.definition.lateness) // self.every
        pieces = cells.within(base.pieces, first, min(last, -(-self.time_range.latest // self.every)))
        if base.created is None or not pieces:
            return pieces
        after = max(base.created - self.definition.lag - self.definition.lateness, _LOWEST)
        late = TimeRange(pieces[0].first * self.every + 1, pieces[-1].last * self.every, after)
        touched = np.empty(0, np.int64)
        for times in History(self.definition, self.source, late).event_times():
            touched = np.union1d(touched, -(-times.to_numpy(zero_copy_only=False) // self.every))
        return list(cells.without(pieces, cells.ranges([int(cell) for cell in touched])))

    def _rows(self, group: Sequence[Segment], fragments: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """The rows of segments."""
        for segment in group:
            if segment.piece is None:
                scan = self.source.scan(self.columns, TimeRange(segment.earliest, segment.latest))
            elif segment.piece.file:
                scan = self._read(segment, fragments[segment.piece.file])
            else:
                continue
            for batch in scan:
                found = self._between(batch, segment.earliest, segment.latest)
                if found.num_rows:
                    yield found

    def _read(self, segment: Segment, fragment: Any) -> Iterator[pa.RecordBatch]:
        schema, name = fragment.physical_schema, self.definition.timestamp_field
        within = bounds.within(name, schema.field(name).type, TimeRange(segment.earliest, segment.latest))
        with self.files.reading(fragment):
            yield from row_groups.stream(
                fragment.split_by_row_group(within, schema), self.files.pinned, Reading(schema), self.columns
            )

    def _written(self, group: Sequence[Segment], fragments: Mapping[str, Any]) -> Iterator[pa.RecordBatch]:
        """The rows of segments, written into one file as far as they are of whole cells."""
        first, last = cells.cells_of(group[0].earliest, group[-1].latest, self.every, self.bounds)
        if first >= last:
            yield from self._rows(group, fragments)
            return
        name = cells.file_name(self.run.began, first, last, uuid4().hex[:8])
        with self.files.writing(self.folder, name) as sink, CellWriter(sink, self._declared()) as writer:
            for batch in self._rows(group, fragments):
                with explained(self.files.uri, URI_FIELD):
                    writer.add(self._between(batch, first * self.every + 1, last * self.every))
                yield batch
            with explained(self.files.uri, URI_FIELD):
                writer.close()
        if writer.failure is not None:
            logger.warning("cells of %s are not kept in %s: %s", self.definition.view, self.files.uri, writer.failure)
        else:
            self.pieces.append(CellRange(first, last, name if writer.rows else "", writer.rows))
        if writer.failure is not None or not writer.rows:
            self.files.remove(self.folder, [name])

    def _declared(self) -> Mapping[str, pa.DataType]:
        schema = log_schema(self.definition)
        return dict(zip(schema.names, schema.types, strict=True))

    def _between(self, batch: pa.RecordBatch, earliest: int | None, latest: int) -> pa.RecordBatch:
        """The rows with an event time in a stretch."""
        _, here = History(self.definition, self.source, TimeRange(earliest, latest)).within(batch)
        return batch if pc.all(here).as_py() else batch.filter(here)

    def _note(self, batch: pa.RecordBatch) -> None:
        created = self.definition.created_field
        if created is not None:
            newest = pc.max(microseconds(batch.column(created), column=created)).as_py()
            self.newest = max(self.newest, NO_CREATED if newest is None else newest)

    def _tidy(self, names: Mapping[str, Sequence[str]], base: RunLog | None, log: RunLog) -> None:
        """Removes what no later run needs, and no run that goes on at the same time as a rule."""
        if base is not None:
            kept = {piece.file for piece in (*base.pieces, *log.pieces)}
            self.files.remove(self.folder, [n for n in names[self.folder] if _older(n, base.began) and n not in kept])
        old = self.run.began - _ABANDONED
        for folder, inside in names.items():
            # Names that begin with a dot are of files that were never finished.
            if folder == self.folder:
                self.files.remove(folder, [n for n in inside if n.startswith(".") and _older(n[1:], old)])
            elif self.shard.index == 0 and not self._beside(folder):
                ours = [n for n in inside if cells.beginning(n.removeprefix(".")) is not None]
                if all(_older(n.removeprefix("."), old) for n in ours):
                    self.files.remove(folder, ours)

    def _beside(self, folder: str) -> bool:
        """Whether it is the folder of another shard of this run."""
        return folder.startswith(f"{self.meaning}/") and folder.endswith(f"-of-{self.shard.count}")


def _older(name: str, moment: int) -> bool:
    began = cells.beginning(name)
    return began is not None and began < moment
