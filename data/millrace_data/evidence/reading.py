"""Predictions out of the lake: only the files, row groups and columns that a question needs, each prediction once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from millrace_core.base.errors import NotFoundError, RejectError, RetryError
from millrace_core.base.shown import shown
from millrace_core.evidence import columns as columns_of
from millrace_core.evidence import layout
from millrace_data.evidence.lake import File, Lake

T = TypeVar("T")

# A file that was merged and deleted between the listing and the reading is looked for again so often.
_ATTEMPTS: Final = 5
# What is one row of one prediction.
KEY: Final = ["id", "row", "deployment"]


class Question(NamedTuple):
    """Which predictions are wanted.

    Attributes:
        start, end: of their times; ``end`` is not included.
        columns: in this order, where ``output.*`` is all that begin with ``output.``; None: all.
        id: of one prediction; None: all.
        limit: at most so many rows, the newest; None: all.
    """

    namespace: str
    service: str
    start: datetime
    end: datetime
    columns: Sequence[str] | None = None
    id: str | None = None
    limit: int | None = None


def read(lake: Lake, question: Question) -> pa.Table:
    """The rows, in the order of their times; each (id, row) of a deployment once.

    A request that was mirrored has its id in two deployments.

    Raises:
        RejectError: the period is none, or there is no such column; names those that there are. NotFoundError: the
        lake has nothing of the service. RetryError: the lake does not answer, or is being changed all the time.
    """
    return while_files_go(lake, question.start, question.end, lambda: _read(lake, question))


def while_files_go(lake: Lake, start: datetime, end: datetime, read: Callable[[], T]) -> T:
    """What ``read`` gives of a period; asked again where a file was merged and deleted under its hands.

    Raises:
        RejectError: the period is none. RetryError: files are deleted faster than they can be read.
    """
    if start >= end:
        raise RejectError("start is not before end", hint="Give a period, such as the last day", field="start")
    for _ in range(_ATTEMPTS):
        try:
            return read()
        except NotFoundError as error:
            if error.field != lake.field:  # not a file that went away under our hands
                raise
    raise RetryError(
        f"files of {lake.uri} are deleted faster than they can be read", hint="Try again, or ask for less at once"
    )


def _read(lake: Lake, question: Question) -> pa.Table:
    start, end = (_micros(moment) for moment in (question.start, question.end))
    parts: list[pa.Table] = []
    schemas: list[pa.Schema] = []
    found = 0
    for folder in reversed(hours(lake, question)):  # the newest first, in case that they are enough
        taken = _hour(lake, folder, question, start, end, schemas)
        if taken is not None:
            parts.append(taken)
            found += taken.num_rows
        if question.limit is not None and found >= question.limit:
            break
    return _whole(parts, schemas, question)


def _whole(parts: Sequence[pa.Table], schemas: Sequence[pa.Schema], question: Question) -> pa.Table:
    known = columns_of.united_schema([columns_of.PREDICTION, *schemas])
    names = wanted(question, known.names)
    missing = [name for name in names if name not in known.names]
    if missing and schemas:
        raise RejectError(
            f"there is no column {shown(missing[0], 80)}",
            hint=f"There are {', '.join(known.names)}",
            field="columns",
        )
    found = columns_of.united([pa.Table.from_batches([], columns_of.PREDICTION.empty_table().schema), *parts])
    order = pc.sort_indices(found, [("time", "ascending"), ("id", "ascending"), ("row", "ascending")])
    table = found.take(order)
    if question.limit is not None:
        table = table.slice(max(0, table.num_rows - question.limit))
    there = [name for name in names if name in table.column_names]
    return table.select(there)


def wanted(question: Question, known: Sequence[str]) -> list[str]:
    """The names of the columns that are asked for; of one that ends with ``.*`` those that there are."""
    if question.columns is None:
        return list(known)
    found = []
    for column in question.columns:
        found += [name for name in known if name.startswith(column[:-1])] if column.endswith(".*") else [column]
    return found


def _hour(
    lake: Lake, folder: str, question: Question, start: int, end: int, schemas: list[pa.Schema]
) -> pa.Table | None:
    """What an hour has of it, each row once; a prediction is in one hour alone."""
    tables = [
        table
        for file, parquet in opened(lake, folder)
        for table in [_part(lake, file, parquet, question, start, end, schemas)]
        if table is not None
    ]
    if not tables:
        return None
    return _once(columns_of.united(tables))


def _once(table: pa.Table) -> pa.Table:
    keys = table.select(KEY).append_column("at", pa.array(range(table.num_rows), pa.int64()))
    first = keys.group_by(KEY).aggregate([("at", "min")])
    if first.num_rows == table.num_rows:
        return table
    return table.take(first.column("at_min"))


def opened(lake: Lake, folder: str) -> Iterator[tuple[File, pq.ParquetFile]]:
    """The files of an hour that count, opened.

    Raises:
        NotFoundError: one has been deleted since it was listed, so that the listing is old.
    """
    files = stable(lake, folder)
    merged = {each.name: _open(lake, each) for each in files if layout.merged_sequence(each.name) is not None}
    names = layout.counting(
        [each.name for each in files], {name: replaced_by(parquet) for name, parquet in merged.items()}
    )
    for each in files:
        if each.name in names:
            yield each, merged.get(each.name) or _open(lake, each)


def stable(lake: Lake, folder: str) -> list[File]:
    """The files of rows in a folder, from two listings that say the same: one of them may have missed what came."""
    before = None
    while True:
        files = [each for each in lake.files(folder) if layout.is_data(each.name)]
        if before is not None and [each.name for each in files] == before:
            return files
        before = [each.name for each in files]


def replaced_by(parquet: pq.ParquetFile) -> list[str]:
    """The names that a merged file replaces."""
    listed: list[str] = orjson.loads((parquet.metadata.metadata or {}).get(layout.REPLACES, b"[]"))
    return listed


def _open(lake: Lake, file: File) -> pq.ParquetFile:
    with lake.explained(file.path):
        return pq.ParquetFile(lake.system.open_input_file(lake.full(file.path)))


def _part(
    lake: Lake,
    file: File,
    parquet: pq.ParquetFile,
    question: Question,
    start: int,
    end: int,
    schemas: list[pa.Schema],
) -> pa.Table | None:
    schema = parquet.schema_arrow.remove_metadata()
    schemas.append(schema)
    groups = [at for at in range(parquet.num_row_groups) if _may_have(parquet, schema, at, question, start, end)]
    if not groups:
        return None
    needed = {*KEY, "time", *wanted(question, schema.names)}
    # By number: a name with dots would be taken for a path into a nested column.
    with lake.explained(file.path):
        table = _columns(parquet, groups, [name for name in schema.names if name in needed])
    kept = table.filter(matches(table, question))
    return kept if kept.num_rows else None


def matches(table: pa.Table, question: Question) -> pa.ChunkedArray:
    """Of each row whether it is of the period, and of the prediction, that are asked for."""
    times = table.column("time").cast(pa.int64())
    keep = pc.and_(pc.greater_equal(times, _micros(question.start)), pc.less(times, _micros(question.end)))
    return keep if question.id is None else pc.and_(keep, pc.equal(table.column("id"), question.id))


def _columns(parquet: pq.ParquetFile, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
    return parquet.read_row_groups(list(groups), columns=list(names)).select(list(names))


def _may_have(parquet: pq.ParquetFile, schema: pa.Schema, at: int, question: Question, start: int, end: int) -> bool:
    """Whether a row group may have what is asked for, by the least and greatest values of its columns."""
    least, greatest = _range(parquet, schema, at, "time")
    if least is not None and (_micros(least) >= end or _micros(greatest) < start):
        return False
    if question.id is not None:
        least, greatest = _range(parquet, schema, at, "id")
        if least is not None and not least <= question.id <= greatest:
            return False
    return True


def _range(parquet: pq.ParquetFile, schema: pa.Schema, at: int, name: str) -> tuple[Any, Any]:
    # The fixed columns come first, and none of them is nested.
    statistics = parquet.metadata.row_group(at).column(schema.get_field_index(name)).statistics
    if statistics is None or not statistics.has_min_max:
        return None, None
    return statistics.min, statistics.max


def hours(lake: Lake, question: Question) -> list[str]:
    """Folders of hours in the period, in the order of time.

    Raises:
        NotFoundError: there is none, as the lake has nothing of the service.
    """
    found = list(_hours(lake, question))
    if not found:
        _require_service(lake, question)
    return found


def _hours(lake: Lake, question: Question) -> Iterator[str]:
    """Folders of hours in the period that there are, in the order of time."""
    service = layout.service_folder(question.namespace, question.service)
    for folder in lake.folders(service):
        day = layout.date_in(folder)
        if day is None:
            continue
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        if midnight >= question.end or midnight + timedelta(days=1) <= question.start:
            continue
        for hour in lake.folders(folder):
            name = hour.rpartition("hour=")[2]
            if name.isdigit():
                begins = midnight + timedelta(hours=int(name))
                if begins < question.end and begins + timedelta(hours=1) > question.start:
                    yield hour


def _require_service(lake: Lake, question: Question) -> None:
    namespace, service = question.namespace, question.service
    if not lake.folders(layout.service_folder(namespace, service)):
        known = [each.rpartition("service=")[2] for each in lake.folders(f"{layout.PREDICTIONS}/namespace={namespace}")]
        raise NotFoundError(
            f"{lake.uri} has no predictions of the service {service!r} in the namespace {namespace!r}",
            hint=f"It has those of {', '.join(known) or 'no service there'}; "
            "a ModelDeployment logs where spec.inference.log is given, "
            "and a prediction takes up to a minute into the lake",
            field="service",
        )


def _micros(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
