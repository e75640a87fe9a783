"""Predictions and outcomes out of the lake into one Parquet file, whatever there is of them: a batch at a time.

Two rounds are made. The first looks at the columns that there are, and at the keys of rows that stand in several files;
the second writes. Kept in memory are a batch of rows, and of keys those of one hour, or of outcomes those of all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import shown
from millrace_core.evidence import columns as columns_of
from millrace_core.evidence.outcome_rows import OUTCOME_COLUMNS
from millrace_data.evidence import reading, reading_outcomes
from millrace_data.evidence.lake import File, Lake
from millrace_data.evidence.reading import Question

_ROWS: Final = 65_536

Flags = NDArray[np.bool_]


def write_predictions(lake: Lake, question: Question, path: Path) -> int:
    """Writes all predictions of a period, each (id, row) of a deployment once, hour after hour; how many.

    Args:
        question: ``limit`` counts for nothing.

    Raises:
        as ``reading.read``.
    """
    return reading.while_files_go(lake, question.start, question.end, lambda: _predictions(lake, question, path))


def _predictions(lake: Lake, question: Question, path: Path) -> int:
    hours = reading.hours(lake, question)
    schemas = [parquet.schema_arrow.remove_metadata() for hour in hours for _, parquet in reading.opened(lake, hour)]
    known = columns_of.united_schema([columns_of.PREDICTION, *schemas])
    wanted = reading.wanted(question, known.names)
    missing = [name for name in wanted if name not in known.names]
    if missing and schemas:
        raise RejectError(
            f"there is no column {shown(missing[0], 80)}",
            hint=f"There are {', '.join(known.names)}",
            field="columns",
        )
    schema = pa.schema([known.field(name) for name in wanted if name in known.names])
    written = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for hour in hours:
            for batch in _hour(lake, hour, question, schema.names):
                writer.write_table(columns_of.fitted(batch, schema))
                written += batch.num_rows
    return written


def _hour(lake: Lake, folder: str, question: Question, names: Sequence[str]) -> Iterator[pa.Table]:
    files = list(reading.opened(lake, folder))
    keys = [_read(lake, file, parquet, [*reading.KEY, "time"]) for file, parquet in files]
    if not keys:
        return
    together = pa.concat_tables(keys)
    keep = _first(together, reading.KEY, reading.matches(together, question))
    begins = 0
    for file, parquet in files:
        for batch in _batches(lake, file, parquet, names):
            found = batch.filter(pa.array(keep[begins : begins + batch.num_rows]))
            begins += batch.num_rows
            if found.num_rows:
                yield found


def write_outcomes(lake: Lake, question: reading_outcomes.Question, path: Path) -> int:
    """Writes all outcomes of a period, each (uid, id) once, in the order of their files; how many.

    Raises:
        as ``reading_outcomes.read``.
    """
    return reading.while_files_go(lake, question.start, question.end, lambda: _outcomes(lake, question, path))


def _outcomes(lake: Lake, question: reading_outcomes.Question, path: Path) -> int:
    folders = list(reading_outcomes.hours(lake, question))
    keys = {
        file.path: _read(lake, file, parquet, ["uid", "id", "received", "experiment"])
        for hour in folders
        for file, parquet in reading.opened(lake, hour)
    }
    together = pa.concat_tables(keys.values()) if keys else OUTCOME_COLUMNS.empty_table()
    keep = _first(together, ("uid", "id"), reading_outcomes.matches(question))
    begins = written = 0
    with pq.ParquetWriter(path, OUTCOME_COLUMNS, compression="zstd") as writer:
        for (file, parquet), before in zip(_opened(lake, folders), [*keys, ""], strict=False):
            if file.path != before:
                raise NotFoundError(f"{lake.uri}/{file.path} came, or went, meanwhile", field=lake.field)
            for batch in _batches(lake, file, parquet, OUTCOME_COLUMNS.names):
                found = batch.filter(pa.array(keep[begins : begins + batch.num_rows]))
                begins += batch.num_rows
                writer.write_table(columns_of.fitted(found, OUTCOME_COLUMNS))
                written += found.num_rows
    return written


def _opened(lake: Lake, folders: Sequence[str]) -> Iterator[tuple[File, pq.ParquetFile]]:
    for folder in folders:
        yield from reading.opened(lake, folder)


def _first(keys: pa.Table, names: Sequence[str], wanted: pa.ChunkedArray | pc.Expression) -> Flags:
    """Of each row whether it is asked for, and no such row before it has its key."""
    numbered = keys.append_column("at", pa.array(np.arange(keys.num_rows))).filter(wanted)
    first = numbered.group_by(list(names)).aggregate([("at", "min")]).column("at_min").to_numpy()
    keep = np.zeros(keys.num_rows, bool)
    keep[first] = True
    return keep


def _read(lake: Lake, file: File, parquet: pq.ParquetFile, names: Sequence[str]) -> pa.Table:
    with lake.explained(file.path):
        return parquet.read(columns=list(names)).select(list(names)).replace_schema_metadata()


def _batches(lake: Lake, file: File, parquet: pq.ParquetFile, names: Sequence[str]) -> Iterator[pa.Table]:
    """All rows of these columns, where the file has them."""
    there = [name for name in parquet.schema_arrow.names if name in names]
    with lake.explained(file.path):
        for batch in parquet.iter_batches(_ROWS, columns=there or ["id"]):
            yield pa.Table.from_batches([batch]).replace_schema_metadata().select(there)
