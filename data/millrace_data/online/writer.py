"""Rows into the online store: encoded by column, sent in bulk, each acknowledged before the writer is done."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue
from typing import Final

from redis.exceptions import RedisClusterException, RedisError

from millrace_core.base.errors import RetryError
from millrace_core.base.retry import delays
from millrace_core.features.definition.definition import Definition
from millrace_core.features.history.history import Rows
from millrace_core.features.online.generation import NO_GENERATION, FullPass, Generation
from millrace_data.online.commands import WriteContext, row_commands
from millrace_data.online.delivery import Delivery
from millrace_data.online.patience import StoreRestartedError, patiently
from millrace_data.online.resp import Command
from millrace_data.online.servers import store_error
from millrace_data.online.store import Store
from millrace_data.online.store_errors import passes

# Encoded pieces that may wait for the connection, so that encoding and writing go on side by side.
_WAITING: Final = 2
# Bytes of source columns that are encoded at once.
_PIECE: Final = 32 << 20
_STORE_ERRORS: Final = (RedisError, RedisClusterException, OSError, UnicodeError)


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
        now: gives the present moment, microseconds.
        generation: of the rows; ``pushed``: whether they were.
        full_pass: the pass that writes them.
        sleep: waits between attempts.
    """

    def __init__(
        self,
        store: Store,
        definition: Definition,
        patience: float,
        *,
        now: Callable[[], int],
        generation: Generation = NO_GENERATION,
        pushed: bool = False,
        full_pass: FullPass | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.written = Written()
        self._now, self._generation, self._pushed, self._full_pass = now, generation, pushed, full_pass
        self._store = store
        self._definition = definition
        self._patience = patience
        self._sleep = sleep
        self._queue: Queue[list[Command] | None] = Queue(_WAITING)
        self._failure: BaseException | None = None
        self._by_slot = store.where.kind == "cluster"
        self._delivery = Delivery(store.servers)
        self._seen: set[str] = set()

    @contextmanager
    def running(self) -> Iterator[RowWriter]:
        """Inside it rows may be written; on leaving it every one has been acknowledged.

        Raises:
            RetryError: the store stayed away, or was restarted and may have lost what was written.
            ReportError: the store refuses.
        """
        patiently(self._require_same_servers, self._patience, self._sleep)
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
            self._delivery.close()
        if self._failure is not None:
            raise self._failure
        patiently(self._require_same_servers, self._patience, self._sleep)

    def write(self, rows: Rows) -> None:
        """Encodes the rows and hands them to the connection; raises what an earlier call met."""
        for piece in _pieces(rows):
            if self._failure is not None:
                raise self._failure
            context = WriteContext(self._now(), self._generation, self._pushed, self._full_pass)
            self._queue.put(list(row_commands(self._definition, piece, context, by_slot=self._by_slot, loaded=True)))

    def _drain(self) -> None:
        while (commands := self._queue.get()) is not None:
            if self._failure is None:
                try:
                    self._send_all(deque(commands))
                except _STORE_ERRORS as error:
                    self._failure = self._store.explain(error)
                except Exception as error:  # handed to the thread that writes
                    self._failure = error

    def _send_all(self, unanswered: deque[Command]) -> None:
        """Sends commands until each is answered. They may be sent again, because the write rule makes that harmless."""
        waiting = delays(self._patience)
        while unanswered:
            before = len(unanswered)
            try:
                if not self._delivery.open:
                    self._require_same_servers()
                self._delivery.exchange(unanswered, self._answered)
            except StoreRestartedError:
                raise
            except (RetryError, *_STORE_ERRORS) as error:
                self._delivery.close()
                if not isinstance(error, RetryError) and not passes(store_error(error)):
                    raise
                if len(unanswered) < before:
                    waiting = delays(self._patience)
                delay = next(waiting, None)
                if delay is None:
                    raise
                self._sleep(delay)

    def _answered(self, command: Command, changed: int) -> None:
        self.written.changed += changed
        self.written.skipped += command.rows - changed

    def _require_same_servers(self) -> None:
        """Rows are safe as long as every server that held any when the run began, or came since, is still there.

        A cluster that gives up a server in peace looks the same as one that lost it; that costs a run, never a row.
        """
        present = self._store.run_ids()
        if not self._seen <= present:
            raise StoreRestartedError(self._store.shown)
        self._seen |= present


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
                expires=None if rows.expires is None else rows.expires.slice(start, length),
            )
        )
