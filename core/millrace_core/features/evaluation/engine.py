"""DuckDB within a memory limit: it spills to disk what exceeds it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import pyarrow as pa

from millrace_core.base.errors import MillraceError, ReportError
from millrace_core.features.evaluation.time_limit import TimeLimit, Watched
from millrace_core.features.expressions.duckdb_settings import NO_DOWNLOADS

MIB: Final = 2**20
# What a thread needs at least to sort and spill.
_PER_THREAD: Final = 32 * MIB


@dataclass(frozen=True)
class Engine:
    """Resources of a computation.

    Attributes:
        spill: directory for what does not fit into memory; DuckDB makes and empties it.
        memory: bytes that DuckDB may hold before it spills.
        threads: at most; fewer are taken where memory is too small for them to work in.
        disk: bytes that it may spill; None: 90% of the free disk.
    """

    spill: str
    memory: int = 128 * MIB
    threads: int = 8
    disk: int | None = None

    @contextmanager
    def connection(self) -> Iterator[Session]:
        """A session of its own; its tables are gone afterwards.

        Raises:
            ReportError: memory or disk do not suffice.
        """
        settings: dict[str, Any] = {
            "temp_directory": self.spill,
            "memory_limit": f"{self.memory // MIB}MiB",
            "preserve_insertion_order": False,
            "threads": max(1, min(self.threads, pa.cpu_count(), self.memory // _PER_THREAD)),
            **NO_DOWNLOADS,
        }
        connection = duckdb.connect(":memory:", config=settings)
        connection.execute("set enable_progress_bar = false")
        connection.execute("set TimeZone = 'UTC'")
        if self.disk is not None:
            connection.execute(f"set max_temp_directory_size = '{self.disk}B'")
        session = Session(connection)
        try:
            yield session
        except duckdb.Error as error:
            raise session.cause(error, self) from error
        finally:
            connection.close()


@contextmanager
def temporary() -> Iterator[Engine]:
    """An engine that spills to a directory of its own, which is gone afterwards."""
    with TemporaryDirectory(prefix="millrace-spill-", ignore_cleanup_errors=True) as spill:
        yield Engine(spill)


class Session:
    """A DuckDB connection that reads streams from Python and keeps their errors."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._fed: list[MillraceError | OSError] = []

    def register(self, name: str, data: pa.Table) -> None:
        """Makes a table known to queries; replaces one of the same name."""
        self._connection.register(name, data)

    def feed(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Makes a stream known to queries. One query may read it, once."""
        self._connection.register(name, pa.RecordBatchReader.from_batches(schema, self._watched(batches)))

    def within(self, limit: TimeLimit, seconds: float) -> Watched:
        """Stops what takes longer in the body."""
        return limit.over(self._connection, seconds)

    def run(self, statement: str) -> None:
        """Executes a statement without a result."""
        self._connection.execute(statement)

    def table(self, query: str) -> pa.Table:
        """A query's whole result."""
        return self._connection.sql(query).to_arrow_table()

    def stream(self, query: str, rows: int) -> pa.RecordBatchReader:
        """A query's result in batches of at most so many rows."""
        return self._connection.sql(query).to_arrow_reader(rows)

    def cause(self, error: Exception, engine: Engine) -> Exception:
        """The error to raise: that of a stream, else DuckDB's, explained."""
        if self._fed:
            return self._fed[0]
        return _explained(error, engine)

    def _watched(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # DuckDB reads the stream through C, where an exception becomes a text.
        try:
            yield from batches
        except (MillraceError, OSError) as error:
            self._fed.append(error)
            raise


def _explained(error: Exception, engine: Engine) -> Exception:
    text = str(error)
    message = text.splitlines()[0].rstrip(".")
    full = "max_temp_directory_size" in text or "No space left" in text
    if full or (isinstance(error, duckdb.IOException) and engine.spill in text):
        return ReportError(
            f"there is no {'free disk' if full else 'way'} to spill to {engine.spill}: {message}",
            hint="Free some space, set MILLRACE_SPILL_DIR to another directory, or give the run more memory",
            reason="NoDiskSpace",
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return ReportError(
            f"the computation needs more than the {engine.memory // MIB} MiB of memory that it may use",
            hint="Give the run more memory (spec.materialization.resources), or set MILLRACE_ENGINE_BYTES",
            reason="OutOfMemory",
        )
    return ReportError(f"the query engine failed: {message}", reason="EngineFailed")
