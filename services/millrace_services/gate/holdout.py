"""The holdout: one Parquet file, brought here through the door and read in batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace_core.api.gates import Holdout
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_core.base.settings import with_secret
from millrace_core.base.shown import listed
from millrace_data.objects import uri
from millrace_data.objects.base import ObjectRange
from millrace_data.objects.door import Door
from millrace_data.objects.reader import reader_of

logger = logging.getLogger(__name__)

FIELD: Final = "spec.gates.holdout"
BATCH: Final = 1024
# Of the values of one batch. A small file may hold large ones: what is said a thousand times is there once.
BATCH_BYTES: Final = 32 * 1024**2
# Of a row group, in the columns that are read, as it is in memory before values are made of it.
GROUP_BYTES: Final = 1024**3
# Of all values that a column of labels has.
LABEL_BYTES: Final = 256 * 1024**2
_FIXED_BYTES: Final = 8


class HoldoutFile:
    """A Parquet file on this machine."""

    def __init__(self, path: Path, shown: str) -> None:
        self._shown = shown
        try:
            schema = pq.read_schema(path)
            texts = [each.name for each in schema if _is_text(each.type)]
            self._file = pq.ParquetFile(path, read_dictionary=texts)
        except (pa.ArrowException, OSError) as error:
            raise self._corrupt(error) from error
        self.columns: list[str] = list(self._file.schema_arrow.names)
        twice = [name for name, times in Counter(self.columns).items() if times > 1]
        if twice:
            raise RejectError(
                f"{shown} has more than one column {twice[0][:80]!r}",
                hint="Write it anew, with one column of each name",
                field=f"{FIELD}.uri",
                reason="BadHoldout",
            )

    def require(self, columns: Sequence[str]) -> None:
        """Raises RejectError: the file lacks one of the columns."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise NotFoundError(
                f"{self._shown} has no column {', '.join(map(repr, missing[:5]))}; it has {listed(self.columns)}",
                field=FIELD,
            )

    def batches(self, columns: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, ``most`` rows together, from the beginning of the file; texts are dictionaries.

        Of the first column, which is kept of all rows, there may be ``LABEL_BYTES``.

        Raises:
            RejectError: the file is corrupt, or holds values that are too large.
        """
        names = list(dict.fromkeys(columns))
        done = kept = 0
        try:
            for batch in self._file.iter_batches(self._rows_at_once(names), columns=names):
                whole = batch.slice(0, most - done)
                kept += int(_sizes(whole.column(names[0])).sum())
                if kept > LABEL_BYTES:
                    raise self._too_large(f"has {kept} bytes in the column {names[0]!r}", LABEL_BYTES)
                for start, size in self._cut(whole, done):
                    yield whole.slice(start, size)
                done += whole.num_rows
                if done >= most:
                    return
        except (pa.ArrowException, OSError) as error:
            raise self._corrupt(error) from error

    def _rows_at_once(self, names: Sequence[str]) -> int:
        """How many rows are read at once, by the largest row group."""
        metadata, schema = self._file.metadata, self._file.schema
        wanted = [at for at in range(len(schema)) if schema.column(at).path.split(".")[0] in names]
        nested = any(schema.column(at).max_repetition_level for at in wanted)
        least = BATCH
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            chunks = [group.column(at) for at in wanted]
            size = sum(max(each.total_uncompressed_size, _FIXED_BYTES * each.num_values) for each in chunks)
            if size > GROUP_BYTES:
                raise self._too_large(f"has {size} bytes in the columns that are read of a row group", GROUP_BYTES)
            if nested and group.num_rows:
                least = min(least, max(1, BATCH_BYTES * group.num_rows // max(size, 1)))
        return least

    def _cut(self, batch: pa.RecordBatch, before: int) -> Iterator[tuple[int, int]]:
        """Where parts of a batch begin, and how many rows they have."""
        sizes = np.zeros(batch.num_rows, np.int64)
        for column in batch.columns:
            sizes += _sizes(column)
        start, size = 0, 0
        for at, each in enumerate(sizes.tolist()):
            if each > BATCH_BYTES:
                raise self._too_large(f"has a row, the {before + at + 1}th, of {each} bytes", BATCH_BYTES)
            if size + each > BATCH_BYTES:
                yield start, at - start
                start, size = at, 0
            size += each
        if start < batch.num_rows:
            yield start, batch.num_rows - start

    def _too_large(self, said: str, most: int) -> RejectError:
        return _too_large(self._shown, said, most)

    def _corrupt(self, error: Exception) -> RejectError:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return RejectError(
            f"{self._shown} cannot be read as Parquet: {said}",
            hint="Write it anew, as one Parquet file",
            field=f"{FIELD}.uri",
            reason="BadHoldout",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _sizes(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """[n] bytes of a column's values, were they made one by one."""
    if not pa.types.is_dictionary(column.type) or not _is_text(column.type.value_type):
        each = column.nbytes // max(len(column), 1)
        return np.full(len(column), max(each, _FIXED_BYTES), np.int64)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64()).take(column.indices)
    found: np.ndarray[Any, np.dtype[np.int64]] = pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False)
    return found


def bring(holdout: Holdout, environ: Mapping[str, str], door: Door, path: Path, most: int) -> HoldoutFile:
    """Brings the file to ``path`` and opens it.

    Args:
        environ: has the credentials, under the names of the pod's Secret.
        most: most bytes of the file.

    Raises:
        RejectError: there is none, no access, it is too large or no Parquet.
        RetryError: the store cannot be reached, or broke off.
    """
    try:
        source = uri.parse(holdout.uri)._replace(field=f"{FIELD}.uri")
        with reader_of(source, with_secret(environ), door).open(0, most + 1) as piece:
            size = _write(piece, path, most, source.shown)
    except MillraceError as error:
        error.field = error.field.replace("spec.model.", f"{FIELD}.")
        raise
    logger.info("holdout", extra={"uri": source.shown, "bytes": size})
    return HoldoutFile(path, source.shown)


def _write(piece: ObjectRange, path: Path, most: int, shown: str) -> int:
    if piece.size is not None and piece.size > most:
        raise _too_large(shown, f"has {piece.size} bytes", most)
    written = 0
    with path.open("wb") as file:
        for chunk in piece.chunks:
            written += file.write(chunk)
            if written > most:
                raise _too_large(shown, f"has more than {most} bytes", most)
    if piece.size is not None and written != piece.size:
        raise RetryError(
            f"{shown}: the download broke off after {written} of {piece.size} bytes",
            field=f"{FIELD}.uri",
            reason="Truncated",
        )
    return written


def _too_large(shown: str, said: str, most: int) -> RejectError:
    return RejectError(
        f"{shown} {said}, {most} are the most",
        hint="Take a sample of the rows, or leave columns out that no model reads",
        field=f"{FIELD}.uri",
        reason="TooLarge",
    )
