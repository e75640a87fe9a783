"""The holdout: one Parquet file, brought here through the door and read in batches."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.api.gates import Holdout
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_core.base.settings import with_secret
from millrace_data.objects import uri
from millrace_data.objects.base import ObjectRange
from millrace_data.objects.door import Door
from millrace_data.objects.reader import reader_of

logger = logging.getLogger(__name__)

FIELD: Final = "spec.gates.holdout"
BATCH: Final = 1024


class HoldoutFile:
    """A Parquet file on this machine."""

    def __init__(self, path: Path, shown: str) -> None:
        self._shown = shown
        try:
            self._file = pq.ParquetFile(path)
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
                f"{self._shown} has no column {', '.join(map(repr, missing[:5]))}; it has "
                f"{', '.join(self.columns[:20])}",
                field=FIELD,
            )

    def batches(self, columns: Sequence[str], most: int) -> Iterator[pa.RecordBatch]:
        """Batches of these columns, ``most`` rows together, from the beginning of the file.

        Raises:
            RejectError: the file is corrupt.
        """
        left = most
        try:
            for batch in self._file.iter_batches(BATCH, columns=list(dict.fromkeys(columns))):
                if left <= 0:
                    return
                yield batch.slice(0, left)
                left -= batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise self._corrupt(error) from error

    def _corrupt(self, error: Exception) -> RejectError:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return RejectError(
            f"{self._shown} cannot be read as Parquet: {said}",
            hint="Write it anew, as one Parquet file",
            field=f"{FIELD}.uri",
            reason="BadHoldout",
        )


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
