"""The lake's small files become few, and its old ones go.

A merge writes one file with the rows of all that count in a folder, which names them; ``layout`` says who counts from
then on. What it replaces is deleted by a later run, once whoever began to read before is done. So each step may be the
last of a run that is killed, and the next one goes on from there.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from millrace_core.base.errors import MillraceError, NotFoundError
from millrace_core.evidence import layout
from millrace_core.evidence.columns import fitted, united_schema
from millrace_core.evidence.outcome_rows import EXPOSURES, OUTCOMES
from millrace_data.evidence import reading
from millrace_data.evidence.lake import File, Lake

logger = logging.getLogger(__name__)

_ROOTS: Final = (layout.PREDICTIONS, OUTCOMES, EXPOSURES)
_ROWS: Final = 131_072


class Rules(NamedTuple):
    """What a run does.

    Attributes:
        retention: older days are deleted.
        settle: an hour is merged once it is over for so long.
        lookback: hours, and days of exposures, that began earlier are left as they are.
        grace: what a merged file replaces is deleted once it is so old.
    """

    retention: timedelta = timedelta(days=90)
    settle: timedelta = timedelta(minutes=10)
    lookback: timedelta = timedelta(days=3)
    grace: timedelta = timedelta(hours=1)


class Done(NamedTuple):
    """What a run did: hours that it merged, files and days that it deleted, and folders that it could not do."""

    merged: int = 0
    files: int = 0
    days: int = 0
    failed: int = 0

    def plus(self, other: Done) -> Done:
        """Both together."""
        return Done(*(mine + its for mine, its in zip(self, other, strict=True)))


def tidy(lake: Lake, rules: Rules, now: datetime, scratch: Path) -> Done:
    """Merges, and deletes what is old or replaced. A folder that cannot be done is told and left for the next run.

    Raises:
        RejectError, RetryError: the lake cannot be listed.
    """
    done = Done()
    oldest = (now - rules.retention).date()
    for folder in (each for root in _ROOTS for each in _days(lake, root)):
        day = layout.date_in(folder)
        try:
            if day is not None and day < oldest:
                lake.delete_folder(folder)
                done = done.plus(Done(days=1))
            elif day is not None:
                for part, began, lasts in _parts(lake, folder, day):
                    if began + lasts + rules.settle <= now and began >= now - rules.lookback:
                        done = done.plus(tidy_folder(lake, part, now - rules.grace, scratch))
        except MillraceError as error:
            logger.error("%s is left as it is: %s", folder, error)  # noqa: TRY400 its sentence says all
            done = done.plus(Done(failed=1))
    return done


def tidy_folder(lake: Lake, folder: str, before: datetime, scratch: Path) -> Done:
    """Merges the files of one folder, and deletes what files that were written ``before`` have replaced."""
    files = reading.stable(lake, folder)
    merged = {each.name: _replaces(lake, each) for each in files if layout.merged_sequence(each.name) is not None}
    counting = layout.counting([each.name for each in files], merged)
    if len(counting) > 1:
        sequence = 1 + max((layout.merged_sequence(name) or 0 for name in merged), default=0)
        replaced = {*counting, *(old for name in counting for old in merged.get(name, ()))}
        _merge(
            lake,
            [each for each in files if each.name in counting],
            f"{folder}/{layout.merged_name(sequence)}",
            sorted(replaced),
            scratch,
        )
        return Done(merged=1)
    settled = [each for each in files if each.name in merged and each.written <= before]
    gone = {name for each in settled for name in merged[each.name]}
    old = [each for each in files if each.name in gone]
    for each in old:
        lake.delete(each.path)
    return Done(files=len(old))


def _merge(lake: Lake, files: Sequence[File], path: str, replaced: Sequence[str], scratch: Path) -> None:
    opened = [_open(lake, each) for each in files]
    opened.sort(key=_begins)
    schema = united_schema(each.schema_arrow.remove_metadata() for each in opened)
    with TemporaryDirectory(dir=scratch) as folder:
        whole = Path(folder) / "merged.parquet"
        with_names = schema.with_metadata({layout.REPLACES: orjson.dumps(replaced)})
        with pq.ParquetWriter(whole, with_names, compression="zstd") as writer, lake.explained(path):
            for table in _groups(opened, schema):
                writer.write_table(table.replace_schema_metadata(with_names.metadata), _ROWS)
        lake.put(path, whole)
    logger.info("merged", extra={"file": path, "files": len(files)})


def _groups(opened: Sequence[pq.ParquetFile], schema: pa.Schema) -> Iterator[pa.Table]:
    """All rows, in tables of as many rows as a row group has."""
    waiting: list[pa.Table] = []
    rows = 0
    for parquet in opened:
        for batch in parquet.iter_batches(_ROWS):
            waiting.append(fitted(pa.Table.from_batches([batch]).replace_schema_metadata(), schema))
            rows += batch.num_rows
            if rows >= _ROWS:
                yield pa.concat_tables(waiting)
                waiting, rows = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _begins(parquet: pq.ParquetFile) -> Any:
    at = parquet.schema_arrow.get_field_index("time")
    statistics = parquet.metadata.row_group(0).column(at).statistics if parquet.num_row_groups else None
    return statistics.min if statistics is not None and statistics.has_min_max else datetime.min.replace(tzinfo=UTC)


def _open(lake: Lake, file: File) -> pq.ParquetFile:
    with lake.explained(file.path):
        return pq.ParquetFile(lake.system.open_input_file(lake.full(file.path)))


def _replaces(lake: Lake, file: File) -> list[str]:
    try:
        return reading.replaced_by(_open(lake, file))
    except NotFoundError:  # another run deletes beside this one
        return []


def _days(lake: Lake, folder: str) -> Iterator[str]:
    """All folders ``date=…`` below one, by whatever parts they are kept."""
    for each in lake.folders(folder):
        if layout.date_in(each) is not None:
            yield each
        elif "=" in each.rpartition("/")[2]:
            yield from _days(lake, each)


def _parts(lake: Lake, folder: str, day: date) -> Iterator[tuple[str, datetime, timedelta]]:
    """The folders of a day that hold files, its hours or itself: since when, and how long, they are written."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    if folder.startswith(f"{EXPOSURES}/"):
        yield folder, midnight, timedelta(days=1)
        return
    for each in lake.folders(folder):
        name = each.rpartition("hour=")[2]
        if len(name) == 2 and name.isdigit() and int(name) < 24:  # noqa: PLR2004 two digits of a day's hours
            yield each, midnight + timedelta(hours=int(name)), timedelta(hours=1)
