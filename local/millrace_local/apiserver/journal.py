"""The journal: every write of the store, appended to one SQLite file before it is acknowledged.

A row is one write: the revision, the key and the object's bytes, or NULL for a delete. Each row is a transaction of its
own, so a process killed at any moment loses nothing it acknowledged. Rows that later writes made obsolete stay for
``HISTORY`` writes, so that watches can resume after a restart, and are then removed in small batches: the file compacts
itself without pausing.

What a Secret said before it was changed or deleted does not wait for that: ``forget`` empties its row, SQLite
overwrites the bytes (``secure_delete``), and the write-ahead log, which still has them, is cut off within seconds;
after a crash the next start does both. Nobody who reads the files later finds it.

A truncated or damaged file is read up to the last whole write; it is kept as ``….damaged-<n>``, and a new journal is
written from what was read.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from millrace_core.base.errors import ReportError

HISTORY = 4000
FORGOTTEN = b""
_BATCH = 256
_CHECKPOINT_EVERY = 1000
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS writes "
    "(revision INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB)"
)
_log = logging.getLogger(__name__)


class Write(NamedTuple):
    """One write: ``body`` is the object without apiVersion and kind, ``None`` for a delete, ``FORGOTTEN`` for one whose
    content is not kept.
    """

    revision: int
    resource: str
    namespace: str
    name: str
    body: bytes | None


def _whole(row: tuple[Any, ...]) -> bool:
    """Whether a row of a damaged file is a write, and not the content of another page."""
    _, resource, namespace, name, body = row
    if not isinstance(resource, str) or not isinstance(namespace, str) or not isinstance(name, str):
        return False
    try:
        return body in (None, FORGOTTEN) or isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


class JournalFullError(ReportError):
    """The journal cannot be written, mostly because the disk is full; the write did not happen."""

    reason = "JournalFullError"


class Journal:
    """An append-only file of writes.

    Args:
        path: the SQLite file; created with its folder when absent.

    Raises:
        ReportError: the file cannot be opened at all (no permission, another server holds it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._obsolete: deque[int] = deque()
        self._since_checkpoint = 0
        self._to_forget: list[int] = []
        # Whether the log may hold what is to be forgotten; at a start, what a crash left there.
        self._log_is_stale = True
        self._locked = self._lock()
        self._connection = self._open()

    def _lock(self) -> IO[bytes]:
        """Locks the folder for this process; the kernel unlocks it when the process ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self.path.with_suffix(".lock").open("wb")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReportError(
                f"another API server runs on {self.path.parent}", hint="Stop it first, or choose another --data"
            ) from None
        except OSError as error:
            raise ReportError(
                f"cannot write to {self.path.parent}: {error.strerror}", hint="Check its permissions and space"
            ) from error
        return lock

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=1.0, check_same_thread=False)
        except sqlite3.Error as error:
            raise ReportError(
                f"cannot open the journal {self.path}: {error}", hint="Check the folder's permissions and space"
            ) from error
        return connection

    def _prepare(self) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "wal_autocheckpoint=0", "secure_delete=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute(_SCHEMA)

    def read(self) -> Iterator[Write]:
        """Yields every write that is still in the file, oldest first; call it once, before the first append."""
        try:
            self._prepare()
            damaged = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok"
        except sqlite3.OperationalError as error:
            raise ReportError(
                f"cannot use the journal {self.path}: {error}", hint="Check the file's permissions and space"
            ) from error
        except sqlite3.DatabaseError:
            damaged = True
        if damaged:
            yield from self._salvage()
            return
        for row in self._connection.execute("SELECT * FROM writes ORDER BY revision"):
            yield Write(*row)

    def _salvage(self) -> Iterator[Write]:
        writes = list(self._readable())
        self._connection.close()
        aside = next(p for n in range(1_000_000) if not (p := Path(f"{self.path}.damaged-{n}")).exists())
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{self.path}{suffix}")
            if part.exists():
                part.rename(f"{aside}{suffix}")
        _log.warning("journal %s was damaged: %d writes read, the old file is %s", self.path, len(writes), aside)
        self._connection = self._open()
        self._prepare()
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO writes VALUES (?, ?, ?, ?, ?)", writes)
        self._connection.execute("COMMIT")
        yield from writes

    def _readable(self) -> Iterator[Write]:
        # writable_schema lets SQLite open a file shorter than its header says; the scan then runs in
        # revision order until the first page that is missing or damaged.
        try:
            self._connection.execute("PRAGMA writable_schema=ON")
            self._connection.execute("PRAGMA cell_size_check=ON")
            for row in self._connection.execute("SELECT * FROM writes ORDER BY revision"):
                if not _whole(row):
                    return
                yield Write(*row)
        except (sqlite3.DatabaseError, UnicodeDecodeError):
            return

    def append(self, write: Write) -> None:
        """Makes a write durable against a kill of this process.

        Raises:
            JournalFullError: nothing was written.
        """
        try:
            self._connection.execute("INSERT INTO writes VALUES (?, ?, ?, ?, ?)", write)
        except sqlite3.Error as error:
            raise JournalFullError(
                f"cannot write the journal {self.path}: {error}", hint="Free some disk space; nothing was changed"
            ) from error
        self._since_checkpoint += 1

    def obsolete(self, revision: int) -> None:
        """Notes that the write of ``revision`` is no longer the state of any object."""
        self._obsolete.append(revision)
        if len(self._obsolete) < HISTORY + _BATCH:
            return
        batch = [(self._obsolete.popleft(),) for _ in range(_BATCH)]
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany("DELETE FROM writes WHERE revision = ?", batch)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # Compaction only saves space: on a full disk the rows stay until the next start.
            _log.warning("journal %s: compaction put off: %s", self.path, error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def forget(self, revision: int) -> None:
        """Notes that the content of this write must not stay in the file; ``erase`` and ``checkpoint`` see to it."""
        self._to_forget.append(revision)

    def erase(self) -> None:
        """Empties the rows of what is to be forgotten; ``checkpoint`` then takes it out of the log as well."""
        if not self._to_forget:
            return
        rows = [(FORGOTTEN, revision) for revision in self._to_forget]
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany("UPDATE writes SET body = ? WHERE revision = ? AND body IS NOT NULL", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.warning("journal %s: old Secrets cannot be erased yet: %s", self.path, error)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            return
        self._to_forget.clear()
        self._log_is_stale = True

    @property
    def wants_checkpoint(self) -> bool:
        """True when enough has been written since the last checkpoint, or the log holds what is to be forgotten."""
        return self._since_checkpoint >= _CHECKPOINT_EVERY or self._log_is_stale

    def checkpoint(self) -> None:
        """Moves the write-ahead log into the file; may run in a thread while ``append`` runs."""
        self._since_checkpoint = 0
        was_stale, self._log_is_stale = self._log_is_stale, False
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=1.0)
            try:
                mode = "TRUNCATE" if was_stale else "PASSIVE"
                busy = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0]
            finally:
                connection.close()
        except sqlite3.Error as error:
            _log.warning("journal %s: checkpoint put off: %s", self.path, error)
            busy = True
        if was_stale and busy:
            self._log_is_stale = True

    def close(self) -> None:
        self.erase()
        self._connection.close()
        self._locked.close()
