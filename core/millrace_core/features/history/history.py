"""The history of a view: its source's rows within a range of event time, numbered in the source's own order.

A computation reads the history twice. First it reads the times and join keys of all rows, and decides by row number
which rows win. Then it reads the features of the winners alone. So features are never sorted, spilled or converted for
rows that lose, and memory does not grow with the length of the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.base.errors import SourceChangedError
from millrace_core.features.definition.definition import Definition, Feature, SourceColumn
from millrace_core.features.types.arrow_numpy import Numbers, int64_array
from millrace_core.features.types.conform import ARROW, KEY_ARROW, conform, conform_key, microseconds, rounded

# Stands for a null created time in computations: lower than every real one.
NO_CREATED = -(2**63)


class TimeRange(NamedTuple):
    """A range of event time in microseconds, both ends inclusive; ``earliest`` None is no lower bound.

    With ``created_after`` only rows count that were created later than it. Rows without a created time do not count
    then. The source must have a created column.
    """

    earliest: int | None
    latest: int
    created_after: int | None = None


class HistorySource(Protocol):
    """The rows of a view's source. Whoever opens it cares for paths, credentials and errors of the network."""

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """Batches of the named columns, in the same order in every scan of the same range.

        Rows outside of the range may be left out; all rows inside must be there.
        """
        ...


class DescribedSource(HistorySource, Protocol):
    """A source whose columns are known."""

    @property
    def columns(self) -> Mapping[str, str]:
        """The type of every column, used or not, by its name in the source."""
        ...


class Rows(NamedTuple):
    """Some rows of a history, by column: join keys (``KEY_ARROW`` types), times (int64 microseconds), features.

    ``done`` is the part of the history that has been read by now, 0 to 1. ``expires`` is when each row expires, in
    microseconds; None where event time + ttl says that. ``errors`` says for how many of the rows the expression of a
    feature failed, by feature.
    """

    keys: list[pa.Array]
    event_times: pa.Array
    created_times: pa.Array | None
    features: list[pa.Array]
    done: float = 1.0
    expires: pa.Array | None = None
    errors: Mapping[str, int] = MappingProxyType({})


@dataclass
class History:
    """A view's rows within a range; ``count`` is their number, once they have been numbered."""

    definition: Definition
    source: HistorySource
    time_range: TimeRange
    count: int = 0

    def __post_init__(self) -> None:
        self._no_created = int64_array(np.empty(0, np.int64))

    def numbered_schema(self) -> pa.Schema:
        """Columns of ``numbered``: join keys k0, k1, …, event, created (``NO_CREATED`` for null), seq (row number)."""
        keys = [(f"k{index}", KEY_ARROW[key.type]) for index, key in enumerate(self.definition.join_keys)]
        return pa.schema([*keys, ("event", pa.int64()), ("created", pa.int64()), ("seq", pa.int64())])

    def numbered(self, reads: Sequence[SourceColumn] = ()) -> Iterator[pa.RecordBatch]:
        """Keys, times and numbers of all rows that can match, that is, without null key and null event time.

        Args:
            reads: further columns, as v0, v1, …
        """
        names = self.numbered_schema().names + [f"v{index}" for index in range(len(reads))]
        for first, batch in self._scan(reads):
            keys = self._keys(batch)
            event = self._event_times(batch)
            written = self._created_times(batch)
            created = self._never(len(event)) if written is None else written.fill_null(NO_CREATED)
            self.count = first + len(event)
            seq = int64_array(np.arange(first, self.count, dtype=np.int64))
            columns = [*keys, event, created, seq, *self._values(batch, reads)]
            numbered = pa.RecordBatch.from_arrays(columns, names)
            keep = self._in_window(event, written)
            for key in keys:
                keep = pc.and_(keep, key.is_valid()) if key.null_count else keep
            yield numbered if pc.all(keep).as_py() else numbered.filter(keep)

    def event_times(self) -> Iterator[pa.Array]:
        """Event times of all rows in the range, null keys included; int64 microseconds, in batches."""
        d = self.definition
        columns = dict.fromkeys([d.timestamp_field, d.created_field or d.timestamp_field])
        for batch in self.source.scan(list(columns), self.time_range):
            event, here = self.within(batch)
            yield event.filter(here)

    def within(self, batch: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """Event times of a batch, and which of its rows are in the range."""
        event = self._event_times(batch)
        return event, self._in_window(event, self._created_times(batch))

    def rows(self, numbers: Iterable[Numbers], features: Sequence[Feature], *, keyed: bool = True) -> Iterator[Rows]:
        """The rows of some numbers.

        Args:
            numbers: row numbers, ascending over all arrays together, each once.
            features: the wanted features; all of them are columns of the source.
            keyed: whether the join keys are wanted, too.

        Raises:
            SourceChangedError: the source has changed since the numbers were found.
        """
        wanted = _Ascending(numbers)
        reads = [feature.source_column for feature in features if feature.source_column]
        for first, batch in self._scan(reads, keyed=keyed):
            here = wanted.below(first + batch.num_rows) - first
            if not len(here):
                continue
            picked = batch if len(here) == batch.num_rows else batch.take(int64_array(here))
            event, created = self._event_times(picked), self._created_times(picked)
            if event.null_count or not pc.all(self._in_window(event, created)).as_py():
                raise _changed(self.definition)
            values = self._values(picked, reads)
            done = (first + batch.num_rows) / max(self.count, 1)
            yield Rows(self._keys(picked) if keyed else [], event, created, values, done)
        if len(wanted.below(2**63 - 1)):
            raise _changed(self.definition)

    def _scan(self, reads: Sequence[SourceColumn], *, keyed: bool = True) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches, each with the number of its first row."""
        d = self.definition
        names = [key.name for key in d.join_keys if keyed]
        names += [d.timestamp_field, d.created_field or d.timestamp_field]
        first = 0
        for batch in self.source.scan(list(dict.fromkeys(names + [read.column for read in reads])), self.time_range):
            yield first, batch
            first += batch.num_rows

    def _values(self, batch: pa.RecordBatch, reads: Sequence[SourceColumn]) -> list[pa.Array]:
        values = []
        for read in reads:
            came = batch.column(read.column)
            if read.type is not None and came.type != ARROW[read.type]:
                makes = [feature for feature in self.definition.features if feature.source_column == read]
                convert = rounded if all(feature.aggregate for feature in makes) else conform
                came = convert(came, read.type, column=read.column, field=f"spec.features[{makes[0].name}]")
            values.append(came)
        return values

    def _keys(self, batch: pa.RecordBatch) -> list[pa.Array]:
        return [
            conform_key(batch.column(key.name), key.type, column=key.name, field="spec.entities")
            for key in self.definition.join_keys
        ]

    def _event_times(self, batch: pa.RecordBatch) -> pa.Array:
        name = self.definition.timestamp_field
        return microseconds(batch.column(name), column=name, field="spec.source.timestampField")

    def _created_times(self, batch: pa.RecordBatch) -> pa.Array | None:
        name = self.definition.created_field
        return name and microseconds(batch.column(name), column=name, field="spec.source.createdTimestampField")

    def _never(self, count: int) -> pa.Array:
        """``count`` times ``NO_CREATED``: a slice of one array for all batches."""
        if len(self._no_created) < count:
            self._no_created = int64_array(np.full(count, NO_CREATED))
        return self._no_created.slice(0, count)

    def _in_window(self, event: pa.Array, created: pa.Array | None) -> pa.Array:
        keep = pc.less_equal(event, self.time_range.latest)
        if self.time_range.earliest is not None:
            keep = pc.and_(keep, pc.greater_equal(event, self.time_range.earliest))
        if self.time_range.created_after is not None and created is not None:
            keep = pc.and_(keep, pc.greater(created, self.time_range.created_after))
        return keep.fill_null(False)


class _Ascending:
    """Takes ascending numbers from a stream of arrays, part by part."""

    def __init__(self, arrays: Iterable[Numbers]) -> None:
        self._arrays = iter(arrays)
        self._rest: Numbers = np.empty(0, np.int64)

    def below(self, bound: int) -> Numbers:
        """The numbers below the bound that were not taken yet."""
        parts = []
        while True:
            cut = int(np.searchsorted(self._rest, bound))
            parts.append(self._rest[:cut])
            self._rest = self._rest[cut:]
            if len(self._rest):
                break
            more = next(self._arrays, None)
            if more is None:
                break
            self._rest = more
        return np.concatenate(parts)


def _changed(definition: Definition) -> SourceChangedError:
    return SourceChangedError(f"the source of feature view {definition.view!r} changed while it was read")
