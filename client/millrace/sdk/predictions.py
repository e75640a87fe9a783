"""Predictions that were logged, out of the evidence lake."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from millrace.sdk import evidence
from millrace.sdk.tabular import Tabular
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
        columns: such as ``["id", "time", "output.score"]``; absent: all.
        lake: ``s3://bucket/path``, ``file:///path`` or a path; absent: ``MILLRACE_LAKE_URI``.
        id: of one prediction.
        limit: at most so many rows, the newest.

    Raises:
        RejectError: no lake is named, there is no such column, or the lake may not be read. NotFoundError: it has
        nothing of the service. RetryError: it does not answer.
    """
    since, until = evidence.period(start, end)
    if isinstance(columns, str):
        raise RejectError(f"{columns!r} came, a list of names is expected", field="columns")
    wanted = list(columns) if columns is not None else None
    question = Question(namespace, service, since, until, wanted, id, limit)
    return Predictions(reading.read(evidence.lake(lake), question))
