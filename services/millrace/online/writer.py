"""Rows into the online store: encoded by column, sent in bulk, each acknowledged before the writer is done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from typing import Any, Final

from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ReadOnlyError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import TimeoutError as StoreTimeoutError

from millrace.base.errors import MillraceError, RetryError
from millrace.features import key_columns, row_columns
from millrace.features.definition import Definition
from millrace.features.history import Rows
from millrace.features.row import Layout
from millrace.online.commands import Command, expiries, write_rows
from millrace.online.patience import delays, patiently
from millrace.online.store import Store

# Bytes that may be on their way without an answer; more would only fill buffers.
_IN_FLIGHT: Final = 4 << 20
# Encoded pieces that may wait for the connection, so that encoding and writing go on side by side.
_WAITING: Final = 2
# Bytes of source columns that are encoded at once.
_PIECE: Final = 32 << 20

_PASSING: Final = (
    StoreConnectionError,
    StoreTimeoutError,
    BusyLoadingError,
    ReadOnlyError,
    ClusterDownError,
    TryAgainError,
    OSError,
    RetryError,
)


class StoreRestartedError(RetryError):
    """Another server answers than the one that took the first rows."""

    reason = "StoreRestarted"


@dataclass
class Written:
    """What became of the rows so far: ``changed`` were newer than what was there, ``skipped`` were not."""

    changed: int = 0
    skipped: int = 0


class RowWriter:
    """Writes the rows of one view. A store that goes away is waited for; one that comes back empty is noticed.

    Args:
        store: where to.
        definition: of the view.
        patience: seconds that the store may be away.
        sleep: waits between attempts.
    """

    def __init__(
        self, store: Store, definition: Definition, patience: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.written = Written()
        self._store = store
        self._definition = definition
        self._layout = Layout.of(definition)
        self._patience = patience
        self._sleep = sleep
        self._queue: Queue[list[Command] | None] = Queue(_WAITING)
        self._failure: BaseException | None = None
        self._connection: Any = None
        self._server = ""

    @contextmanager
    def running(self) -> Iterator[RowWriter]:
        """Inside it rows may be written; on leaving it every one has been acknowledged.

        Raises:
            RetryError: the store stayed away, or was restarted and may have lost what was written.
            ReportError: the store refuses.
        """
        self._server = patiently(self._store.run_id, self._patience, self._sleep)
        thread = threading.Thread(target=self._drain, name="row-writer", daemon=True)
        thread.start()
        try:
            yield self
        except BaseException as error:
            # What is still queued need not be sent.
            self._failure = self._failure or error
            raise
        finally:
            self._queue.put(None)
            thread.join()
            self._release()
        if self._failure is not None:
            raise self._failure
        self._require_same_server(patiently(self._store.run_id, self._patience, self._sleep))

    def write(self, rows: Rows) -> None:
        """Encodes the rows and hands them to the connection; raises what an earlier call met."""
        for piece in _pieces(rows):
            if self._failure is not None:
                raise self._failure
            self._queue.put(list(self._commands(piece)))

    def _commands(self, rows: Rows) -> Iterator[Command]:
        definition = self._definition
        columns = {key.name: column for key, column in zip(definition.join_keys, rows.keys, strict=True)}
        return write_rows(
            key_columns.store_keys(definition, columns),
            row_columns.encode(self._layout, rows.event_times, rows.created_times, rows.features),
            None if definition.ttl is None else expiries(rows.event_times, definition.ttl),
            small=not self._layout.has_variable,
        )

    def _drain(self) -> None:
        while (commands := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    self._send_all(deque(commands))
                except Exception as error:  # handed to the thread that writes
                    self._failure = error if isinstance(error, MillraceError) else self._store.explain(error)

    def _send_all(self, unanswered: deque[Command]) -> None:
        """Sends commands until each is answered. They may be sent again, because the write rule makes that harmless."""
        waiting = delays(self._patience)
        while unanswered:
            before = len(unanswered)
            try:
                self._exchange(unanswered)
            except StoreRestartedError:
                raise
            except _PASSING:
                self._release()
                if len(unanswered) < before:
                    waiting = delays(self._patience)
                delay = next(waiting, None)
                if delay is None:
                    raise
                self._sleep(delay)

    def _exchange(self, unanswered: deque[Command]) -> None:
        """Sends and reads in turns, so that neither side's buffers fill up; answered commands leave the queue."""
        connection = self._connected()
        sent = in_flight = 0
        while unanswered:
            while sent < len(unanswered) and (in_flight < _IN_FLIGHT or sent == 0):
                wire = unanswered[sent].wire
                connection.send_packed_command([wire], check_health=False)
                sent += 1
                in_flight += len(wire)
            changed = int(connection.read_response())
            answered = unanswered.popleft()
            sent -= 1
            in_flight -= len(answered.wire)
            self.written.changed += changed
            self.written.skipped += answered.rows - changed

    def _connected(self) -> Any:
        if self._connection is None:
            connection = self._store.client.connection_pool.get_connection()
            self._connection = connection
            self._require_same_server(self._store.run_id())
        return self._connection

    def _release(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._store.client.connection_pool.release(self._connection)
            self._connection = None

    def _require_same_server(self, server: str) -> None:
        if server != self._server:
            raise StoreRestartedError(
                f"the online store {self._store.shown} was restarted or replaced during the run, so it may have lost "
                "what was written",
                hint="Run it again; the watermark has not moved",
            )


def _pieces(rows: Rows) -> Iterator[Rows]:
    """Halves what is too large to encode at once, down to single rows."""
    size = sum(column.nbytes for column in [*rows.keys, *rows.features])
    count = len(rows.event_times)
    if size <= _PIECE or count <= 1:
        yield rows
        return
    middle = count // 2
    for start, length in ((0, middle), (middle, count - middle)):
        created = rows.created_times
        yield from _pieces(
            Rows(
                [column.slice(start, length) for column in rows.keys],
                rows.event_times.slice(start, length),
                None if created is None else created.slice(start, length),
                [column.slice(start, length) for column in rows.features],
            )
        )
