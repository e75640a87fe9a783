"""Rows of a source that are later than now, counted while a run reads it.

No run writes them and no reader sees them, so without a count nobody would learn that a source makes up its times, or
that a clock is wrong. They are counted in the same scan that the run needs anyhow: one that reaches up to the present
has no upper end in the source, and what lies beyond the run's end is left out here. Only a run that reaches the present
counts; one over earlier times reads none of the rows in question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import HistorySource, TimeRange
from millrace_core.features.online.generation import TOLERANCE
from millrace_core.features.types.conform import microseconds
from millrace_data.materialization.ledger import RunInterval

# The last moment that all kinds of sources can say, 9999-12-31T23:59:59.999999Z; databases have an infinity beyond it.
LAST_MOMENT: Final = 253_402_300_799_999_999


class LaterRows:
    """Implements ``history.HistorySource`` over what a run reads.

    Attributes:
        count: rows whose event time is later than the run's beginning by more than that of a pushed row may be; None
            while no scan has come to its end that would have met them.
    """

    def __init__(self, source: HistorySource, definition: Definition, covers: RunInterval) -> None:
        self._source = source
        self._field = definition.timestamp_field
        self._upto = covers.upto
        self._reaches_now = covers.upto >= covers.began - definition.lag
        self._horizon = covers.began + TOLERANCE
        self.count: int | None = None

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        """As the source's own."""
        if not self._reaches_now or time_range.latest != self._upto or time_range.created_after is not None:
            yield from self._source.scan(columns, time_range)
            return
        found, names = 0, list(dict.fromkeys([*columns, self._field]))
        for batch in self._source.scan(names, time_range._replace(latest=max(LAST_MOMENT, self._upto))):
            event = microseconds(batch.column(self._field), column=self._field, field="spec.source.timestampField")
            found += pc.sum(pc.greater(event, self._horizon), min_count=0).as_py()
            beyond = pc.greater(event, self._upto).fill_null(False)
            kept = batch.filter(pc.invert(beyond)) if pc.any(beyond, min_count=0).as_py() else batch
            yield kept.select(list(columns))
        # A run may read twice; the answer is the same.
        self.count = found
