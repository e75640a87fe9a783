"""A log that is on disk before anybody is answered, whose rows go to the online store and to the lake.

A segment of the spool goes to the lake once it is closed and all of its rows are in the store; what a process that was
killed left is told to the store again, which knows what it has. Nothing is given up: a full spool takes no more.

What is in the lake stays in the spool, too, until its owner has seen that the store is still the one that was told:
somebody who fills a new one may have listed the lake a moment before.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from millrace_core.base.errors import RetryError
from millrace_data.evidence import spool
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.shipping import Place, Shipper
from millrace_data.evidence.spool import Segment, Spool

logger = logging.getLogger(__name__)

_SEGMENT_BYTES = 64 * 1024**2


class CommitLog:
    """One log. All methods block; they may be called by several threads.

    Args:
        folder: of its spool; on a volume that outlives the node where nothing may be lost with one.
        field: the setting that names the folder.
        place: folders of the lake for its rows.
        lake: opens the lake; None: there is none, and the spool keeps all.
        limit: most bytes of the spool.

    Raises:
        RejectError: the folder cannot be written. RetryError: another process writes there.
    """

    def __init__(self, folder: Path, field: str, place: Place, lake: Callable[[], Lake] | None, limit: int) -> None:
        self._spool = Spool(folder, field)
        self._field = field
        self._limit = limit
        self._lock = threading.Lock()
        self._held: Counter[int] = Counter()
        # Segments that have rows that are not in the store.
        self._behind = {each.sequence for each in self._spool.segments()}
        self._shipped: set[int] = set()
        self._shipper = None
        self.uid = _writer(folder)
        if lake is not None:
            self._shipper = Shipper(
                self._spool, lake, place, self.uid, lambda _: None, limit, self._ready, self._is_in_lake
            )

    def append(self, rows: pa.Table, hour: int) -> int:
        """Adds rows of one hour, on disk when this returns; the sequence of their segment, which ``applied`` takes.

        Raises:
            RetryError: it is full, or cannot be written; nothing is left of the rows.
        """
        with self._lock:
            if self._spool.bytes() >= self._limit:
                raise RetryError(
                    f"the log of the gateway is full, at {self._limit} bytes",
                    hint="Tell whoever runs the gateway: its evidence lake takes nothing, or it has none",
                    reason="LogFull",
                )
            try:
                size = self._spool.append(rows, hour)
            except OSError as error:
                raise RetryError(
                    f"the log of the gateway cannot be written: {error.strerror}", reason="LogUnwritable"
                ) from error
            opened = self._spool.open
            if opened is None:
                raise AssertionError
            self._held[opened.sequence] += 1
            if size >= _SEGMENT_BYTES:
                self._spool.close_segment()
            return opened.sequence

    def applied(self, sequence: int, *, done: bool) -> None:
        """What was appended once is in the store, or is not."""
        with self._lock:
            self._held[sequence] -= 1
            if not self._held[sequence]:
                del self._held[sequence]
            if not done:
                self._behind.add(sequence)

    def fall_behind(self) -> None:
        """Nothing that is here is in the store any more."""
        with self._lock:
            self._behind.update(each.sequence for each in self._spool.segments())
            self._shipped.clear()

    @property
    def behind(self) -> int:
        """How many segments have rows that are not in the store."""
        return len(self._behind)

    @property
    def told(self) -> int:
        """The last segment that is in the store with all before it; 0: there is none."""
        with self._lock:
            opened = self._spool.open
            waiting = [*self._behind, *self._held, *([opened.sequence] if opened is not None else ())]
            return min(waiting) - 1 if waiting else self._spool.last

    @property
    def in_lake(self) -> bool:
        """Whether the lake has all that is here."""
        with self._lock:
            return not self._held and all(each.sequence in self._shipped for each in self._spool.segments())

    def shipped(self) -> frozenset[int]:
        """The segments that are in the lake and still here."""
        with self._lock:
            return frozenset(self._shipped)

    def remove(self, sequences: frozenset[int]) -> None:
        """Segments of ``shipped`` are needed no more, but those that the store was found to lack meanwhile."""
        with self._lock:
            for each in self._spool.segments():
                if each.sequence in sequences and each.sequence in self._shipped:
                    self._spool.remove(each)
                    self._shipped.discard(each.sequence)

    def take_behind(self) -> Segment | None:
        """The oldest segment that is behind, which counts as told from now on; None where there is none."""
        with self._lock:
            for each in self._spool.segments():
                if each.sequence in self._behind:
                    self._behind.discard(each.sequence)
                    self._held[each.sequence] += 1
                    return each
            self._behind.clear()
            return None

    def segments(self) -> list[Segment]:
        """All that are here, oldest first."""
        return self._spool.segments()

    def blocks(self) -> Iterator[pa.Table]:
        """All rows that are in the spool, in order."""
        for each in self._spool.segments():
            yield from self.read(each)

    @staticmethod
    def read(segment: Segment) -> Iterator[pa.Table]:
        """The rows of a segment; none where it is in the lake meanwhile."""
        try:
            yield from (block for block in spool.read(segment.path) if block.num_rows)
        except FileNotFoundError:
            return

    def ship(self) -> bool:
        """Closes the open segment, and ships what may go; False where something stays."""
        with self._lock:
            self._spool.close_segment()
        return self._shipper is None or self._shipper.ship_all()

    def bytes(self) -> int:
        """What of it is not in the lake."""
        return sum(each.bytes for each in self._spool.segments() if each.sequence not in self._shipped)

    def close(self) -> None:
        """Lets another process write here."""
        with self._lock:
            self._spool.close()

    def _ready(self, segment: Segment) -> bool:
        with self._lock:
            sequence = segment.sequence
            return sequence not in self._behind and sequence not in self._held and sequence not in self._shipped

    def _is_in_lake(self, segment: Segment) -> None:
        with self._lock:
            if segment.sequence not in self._behind:
                self._shipped.add(segment.sequence)


def _writer(folder: Path) -> str:
    """The UID of the folder, under which its files are in the lake: it goes with the sequences that are kept there."""
    kept = folder / "writer"
    if not kept.exists():
        partial = folder / "writer.new"
        partial.write_text(str(uuid4()))
        partial.replace(kept)
    return kept.read_text()
