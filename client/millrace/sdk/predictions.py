"""Predictions that were logged, out of the evidence lake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from millrace.sdk import evidence
from millrace.sdk.tabular import Tabular, whole_file
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base.errors import RejectError
from millrace_data.evidence import reading
from millrace_data.evidence.reading import Question


@dataclass(frozen=True)
class Predictions(Tabular):
    """Logged predictions, one row per row of a request, in the order of their times; each once."""

    table: pa.Table


def read(
    service: str,
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    columns: Sequence[str] | None = None,
    lake: str | os.PathLike[str] | None = None,
    id: str | None = None,  # noqa: A002 the column's name
    limit: int | None = None,
) -> Predictions:
    """Predictions of a service.

    Args:
        service: ``spec.service`` of the ModelDeployments, or the name of the only one.
        start, end: of their times, ``end`` not included; absent: the day before ``end``, and now.
        columns: such as ``["id", "time", "output.score"]``, or ``output.*`` for all outputs; absent: all.
        lake: ``s3://bucket/path``, ``file:///path`` or a path; absent: ``MILLRACE_LAKE_URI``.
        id: of one prediction.
        limit: at most so many rows, the newest.

    Raises:
        RejectError: no lake is named, there is no such column, or the lake may not be read. NotFoundError: it has
        nothing of the service. RetryError: it does not answer.
    """
    since, until = evidence.period(start, end)
    question = Question(namespace, service, since, until, _wanted(columns), id, limit)
    return Predictions(reading.read(evidence.lake(lake), question))


def export(
    service: str,
    path: str | os.PathLike[str],
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    columns: Sequence[str] | None = None,
    lake: str | os.PathLike[str] | None = None,
) -> int:
    """Writes predictions of a service to one Parquet file, hour after hour; how many. They need not fit into memory.

    Args:
        service, start, end, columns, lake: as ``read`` has them.

    Raises:
        RejectError: as ``read``, or the file cannot be written. NotFoundError, RetryError: as ``read``.
    """
    from millrace_data.evidence import exporting  # noqa: PLC0415 what few callers need

    since, until = evidence.period(start, end)
    question = Question(namespace, service, since, until, _wanted(columns))
    with whole_file(Path(path)) as partial:
        return exporting.write_predictions(evidence.lake(lake), question, partial)


def _wanted(columns: Sequence[str] | None) -> list[str] | None:
    if isinstance(columns, str):
        raise RejectError(f"{columns!r} came, a list of names is expected", field="columns")
    return list(columns) if columns is not None else None
