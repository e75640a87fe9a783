"""Which evidence lake a caller means, and which time."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace.sdk import time_arguments
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_data.evidence.lake import Lake

VARIABLE = "MILLRACE_LAKE_URI"
_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def period(start: TimeArgument | None, end: TimeArgument | None) -> tuple[datetime, datetime]:
    """Both ends; absent ones are the day before ``end``, and now."""
    until = _moment(end, "end") if end is not None else datetime.now(UTC)
    return _moment(start, "start") if start is not None else until - _DAY, until


def lake(given: str | os.PathLike[str] | None) -> Lake:
    """The lake of a URI or a path, or the one that the environment names.

    Raises:
        RejectError: none is named, or it may not be read. NotFoundError: it is a folder that is not there.
    """
    uri = os.environ.get(VARIABLE, "") if given is None else os.fspath(given)
    if not uri:
        raise RejectError(
            "no evidence lake is named",
            hint=f"Pass s3://bucket/path or a folder, or set {VARIABLE}; on the command line it is --lake",
            field="lake",
        )
    if "://" not in uri:
        uri = Path(uri).absolute().as_uri()
    found = Lake(uri, os.environ, field="lake")
    if uri.startswith("file://") and not Path(found.root).is_dir():
        raise NotFoundError(
            f"there is no folder {found.root}",
            hint="A lake is there once something was logged. Name another folder, or s3://bucket/path",
            field="lake",
        )
    return found


def _moment(value: TimeArgument, field: str) -> datetime:
    return _EPOCH + timedelta(microseconds=time_arguments.microseconds(value, field))
