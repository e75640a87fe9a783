"""Arrow tables in the forms that people work with."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.base.errors import RejectError

_NOTEBOOK = "Install it with: pip install 'millrace[notebook]'"


class Tabular:
    """What is a table and can be had as any other form of one."""

    table: pa.Table

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.table

    def to_pandas(self) -> Any:
        """As a pandas DataFrame.

        Raises:
            RejectError: pandas is not installed.
        """
        try:
            return self.table.to_pandas()
        except ImportError as error:
            raise RejectError("pandas is not installed", hint=_NOTEBOOK) from error

    def to_polars(self) -> Any:
        """As a Polars DataFrame.

        Raises:
            RejectError: Polars is not installed.
        """
        try:
            import polars  # noqa: PLC0415 — an extra
        except ImportError as error:
            raise RejectError("Polars is not installed", hint=_NOTEBOOK) from error
        return polars.from_arrow(self.table)

    def to_duckdb(self) -> Any:
        """As a relation of DuckDB, over a connection of its own."""
        import duckdb  # noqa: PLC0415 a second of imports that most callers do without

        return duckdb.connect().from_arrow(self.table)

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """To a Parquet file, which is whole or not there at all.

        Raises:
            RejectError: the file cannot be written.
        """
        write_parquet(self.table, Path(path))


def write_parquet(table: pa.Table, target: Path) -> None:
    """Writes under another name and renames. Raises as ``Tabular.to_parquet``."""
    with whole_file(target) as partial:
        pq.write_table(table, partial)


@contextmanager
def whole_file(target: Path) -> Iterator[Path]:
    """A path to write to, which becomes the file where all goes well, and nothing otherwise.

    Raises:
        RejectError: it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial-") as folder:
            partial = Path(folder) / target.name
            yield partial
            partial.replace(target)
    except OSError as error:
        raise RejectError(f"cannot write {target}: {error.strerror or error}", field="path") from error
