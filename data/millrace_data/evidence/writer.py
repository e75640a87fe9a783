"""What a process logs to: a bounded queue, and two threads behind it, to the spool and from there to the lake.

``add`` is for one thread, such as an event loop; it never waits. A row is lost for the process's end at most while it
is in the queue, which is emptied every ``flush_seconds``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.evidence.gathered import MOST, Gathered
from millrace_data.evidence.shipping import Shipper
from millrace_data.evidence.spool import Spool

logger = logging.getLogger(__name__)

# Between two conversions other threads get their turn.
_YIELD_SECONDS: Final = 0.0005
_MICROSECONDS_PER_HOUR: Final = 3600 * 1_000_000


@dataclass(frozen=True)
class Limits:
    """How much may wait, and how long.

    Attributes:
        records, bytes: of the queue.
        flush_seconds: between two writes to the spool.
        segment_seconds, segment_bytes: of a segment, whichever comes first.
        retry_seconds: before an unreachable lake is asked again.
    """

    records: int = 50_000
    bytes: int = 64 * 1024**2
    flush_seconds: float = 0.5
    segment_seconds: float = 60.0
    segment_bytes: int = 64 * 1024**2
    retry_seconds: float = 5.0


class EvidenceWriter:
    """A log of predictions.

    Args:
        convert: makes rows of what was gathered, with a column ``time``; at least one record is given.
        dropped: called with the reason and a number of records (``queue``, ``unwritable``) that are not logged.
        ending: whether the process is about to end, so that a segment is shipped at once: what is in the lake already
            needs no time then.
    """

    def __init__(
        self,
        convert: Callable[[Sequence[Gathered]], pa.Table],
        spool: Spool,
        shipper: Shipper,
        dropped: Callable[[str, int], None],
        limits: Limits = Limits(),
        clock: Callable[[], float] = time.monotonic,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ending = ending
        self._convert = convert
        self._spool = spool
        self._shipper = shipper
        self._dropped = dropped
        self._limits = limits
        self._clock = clock
        self._queue: deque[Gathered] = deque()
        # Records and bytes that came, for the thread of ``add``, and that were taken out, for the other one.
        self._entered = self._entered_bytes = 0
        self._left = self._left_bytes = 0
        self._opened = 0.0
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._guard = threading.Lock()
        self._threads = [
            threading.Thread(target=self._spooling, name="log-spool", daemon=True),
            threading.Thread(target=self._shipping, name="log-ship", daemon=True),
        ]

    def start(self) -> None:
        """Begins to write; what an earlier process left in the spool is shipped first."""
        self._ready.set()
        for thread in self._threads:
            thread.start()

    def add(self, group: Gathered) -> None:
        """Takes predictions, or drops and counts them where the queue is full."""
        count, limits = len(group), self._limits
        waiting, size = self._entered - self._left, self._entered_bytes - self._left_bytes
        if waiting + count > limits.records or size + group.size > limits.bytes:
            self._dropped("queue", count)
            return
        self._entered += count
        self._entered_bytes += group.size
        self._queue.append(group)

    def close(self, seconds: float) -> bool:
        """Writes all that is left, and ships it; False where that was not done within so many seconds."""
        until = time.monotonic() + seconds
        self._stop.set()
        self._ready.set()
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        done = not any(thread.is_alive() for thread in self._threads) and not self._spool.closed()
        if not done:
            logger.error("evidence is left in the spool, because the lake did not take it within %g s", seconds)
        return done

    def flush(self) -> None:
        """Writes what is in the queue to the spool, on disk when this returns."""
        with self._guard:
            left = len(self._queue)
            tables: list[pa.Table] = []
            while left > 0:
                lot: list[Gathered] = []
                while left > 0 and sum(map(len, lot)) < MOST:
                    lot.append(self._queue.popleft())
                    left -= 1
                tables += self._converted(lot)
                self._left += sum(map(len, lot))
                self._left_bytes += sum(group.size for group in lot)
                if left:
                    time.sleep(_YIELD_SECONDS)
            for table in tables:
                self._append(table)
            self._close_segment_in_time()

    def _converted(self, lot: Sequence[Gathered]) -> list[pa.Table]:
        try:
            return [self._convert(lot)]
        except Exception:  # one record that has no form must not take the others with it
            if len(lot) == len(lot[0]) == 1:
                logger.exception("a record cannot be logged")
                self._dropped("unwritable", 1)
                return []
            parts = [[group] for group in lot] if len(lot) > 1 else [[one] for one in lot[0].apart()]
            return [table for part in parts for table in self._converted(part)]

    def _append(self, table: pa.Table) -> None:
        hours = pc.divide(table.column("time").cast(pa.int64()), _MICROSECONDS_PER_HOUR)
        for hour in sorted(set(hours.unique().to_pylist())):
            rows = table.filter(pc.equal(hours, hour)) if len(hours.unique()) > 1 else table
            before = self._spool.open
            try:
                size = self._spool.append(rows, hour)
            except OSError as error:
                logger.error("the spool cannot be written: %s", error.strerror)  # noqa: TRY400 its reason says all
                self._dropped("spool", rows.num_rows)
                continue
            if self._spool.open != before:
                self._opened = self._clock()
                self._ready.set()
            if size >= self._limits.segment_bytes:
                self._close_segment()

    def _close_segment_in_time(self) -> None:
        if self._spool.open is None:
            return
        if self._ending() or self._clock() - self._opened >= self._limits.segment_seconds:
            self._close_segment()

    def _close_segment(self) -> None:
        self._spool.close_segment()
        self._ready.set()

    def _spooling(self) -> None:
        while not self._stop.wait(self._limits.flush_seconds):
            self._flushed()
            self._shipper.make_room()
        self._flushed()
        with self._guard:
            self._close_segment()

    def _flushed(self) -> None:
        try:
            self.flush()
        except Exception:  # the next second may do better, and nobody else looks
            logger.exception("the log could not be written to the spool")

    def _shipping(self) -> None:
        while True:
            self._ready.wait()
            self._ready.clear()
            ending = self._stop.is_set() and not self._threads[0].is_alive()
            if not self._shipped() and not ending:
                self._stop.wait(self._limits.retry_seconds)
                self._ready.set()
            if ending:
                return
            if self._stop.is_set():
                self._threads[0].join()
                self._ready.set()

    def _shipped(self) -> bool:
        try:
            return self._shipper.ship_all()
        except Exception:
            logger.exception("the log could not be shipped")
            return False
