"""From the spool to the lake: each segment becomes one Parquet file, and goes when that is there."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.base.errors import MillraceError
from millrace_core.evidence import layout
from millrace_core.evidence.columns import united
from millrace_data.evidence import spool
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.spool import Segment, Spool

logger = logging.getLogger(__name__)

_HOUR_MICROSECONDS = 3600 * 1_000_000

# Folders, and the rows that belong to each.
Place = Callable[[Segment, pa.Table], Iterable[tuple[str, pa.Table]]]


def of_service(namespace: str, service: str) -> Place:
    """All rows are predictions of one service."""

    def place(segment: Segment, rows: pa.Table) -> Iterable[tuple[str, pa.Table]]:
        yield layout.hour_of(namespace, service, segment.hour * _HOUR_MICROSECONDS).folder, rows

    return place


@dataclass
class Shipper:
    """Brings closed segments to the lake.

    Args:
        lake: opened at the first use, which may wait for a server.
        place: the folders of the lake that the rows of a segment belong to, each with its own.
        writer: UID of the pod, or of its volume: what its files are called, with their sequence.
        dropped: called with the number of rows that are given up.
        limit: most bytes of the spool.
        ready: whether a segment may go from the spool.
        shipped: called with a segment that is in the lake; None: it is removed.
    """

    spool: Spool
    lake: Callable[[], Lake]
    place: Place
    writer: str
    dropped: Callable[[int], None]
    limit: int
    ready: Callable[[Segment], bool] = lambda _: True
    shipped: Callable[[Segment], None] | None = None
    _going: Segment | None = None

    def ship_all(self) -> bool:
        """Ships the closed segments, oldest first; False where the lake refused one, which stays, with all after it."""
        for segment in filter(self.ready, self.spool.closed()):
            self._going = segment
            try:
                self._ship(segment)
            except MillraceError as error:
                logger.warning("evidence stays in the spool: %s", error)
                return False
            finally:
                self._going = None
        return True

    def make_room(self) -> None:
        """Gives up the oldest closed segments until the spool keeps its limit."""
        for segment in self.spool.closed():
            # Counted anew each time: the oldest may be in the lake by now, so that no more room is needed.
            if self.spool.bytes() <= self.limit:
                return
            if segment == self._going or not segment.bytes:  # it is on its way, or there already
                continue
            lost = self._rows(segment)
            self.spool.remove(segment)
            self.dropped(lost)
            logger.error(
                "the spool is full: %d rows that are not in the lake are lost", lost, extra={"file": segment.path.name}
            )

    def _ship(self, segment: Segment) -> None:
        try:
            blocks = [block for block in spool.read(segment.path) if block.num_rows]
        except FileNotFoundError:  # given up meanwhile
            return
        if blocks:
            name = layout.file_name(self.writer, segment.sequence)
            for folder, rows in self.place(segment, united(blocks)):
                with tempfile.TemporaryDirectory(dir=segment.path.parent) as scratch:
                    whole = Path(scratch) / name
                    pq.write_table(rows, whole, compression="zstd", row_group_size=131_072)
                    self.lake().put(f"{folder}/{name}", whole)
        (self.shipped or self.spool.remove)(segment)

    @staticmethod
    def _rows(segment: Segment) -> int:
        try:
            return spool.rows(segment.path)
        except FileNotFoundError:
            return 0
