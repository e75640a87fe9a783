"""Where files of evidence lie, and which of them count.

``predictions/namespace=N/service=S/date=2026-11-30/hour=07/<writer>-<sequence>.parquet``: hours are UTC, and a file
holds rows of one hour. Merging writes ``merged-<sequence>.parquet`` beside the files that it replaces, and names them
in its footer. From the moment that it is there, it counts, and they do not; they are deleted later. Its name comes
after all others, so that a listing in the order of names that lacks a deleted file has what replaced it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

PREDICTIONS: Final = "predictions"
SUFFIX: Final = ".parquet"
# Key of a merged file's footer: a JSON list of the names of files that it replaces.
REPLACES: Final = b"millrace.replaces"

_MERGED: Final = re.compile(r"merged-(\d{6})\.parquet")
_WRITER: Final = re.compile(r"[0-9a-f][0-9a-f-]{0,62}")
_PART: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DATE: Final = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


class Hour(NamedTuple):
    """One hour of one service's predictions."""

    namespace: str
    service: str
    start: datetime

    @property
    def folder(self) -> str:
        """Below the lake's URI."""
        return f"{date_folder(self.namespace, self.service, self.start.date())}/hour={self.start:%H}"


def hour_of(namespace: str, service: str, microseconds: int) -> Hour:
    """The hour that a moment since 1970 is in."""
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return Hour(namespace, service, moment.replace(minute=0, second=0, microsecond=0))


def part(field: str, name: str) -> str:
    """One part of a folder's path, ``field=name``.

    Raises:
        RejectError: the name can be none in Kubernetes.
    """
    if _PART.fullmatch(name) is None:
        raise RejectError(
            f"{shown(name, 80)} is no name of a {field}",
            hint="Lower case letters, digits and - are",
            field=field,
        )
    return f"{field}={name}"


def service_folder(namespace: str, service: str) -> str:
    """The folder of a service's predictions.

    Raises:
        RejectError: one of the two can be no name in Kubernetes.
    """
    return f"{PREDICTIONS}/{part('namespace', namespace)}/{part('service', service)}"


def date_folder(namespace: str, service: str, day: date) -> str:
    """The folder of one day (UTC)."""
    return f"{service_folder(namespace, service)}/date={day.isoformat()}"


def date_in(folder: str) -> date | None:
    """The day of a folder ``date=…``; None where the last part of the path is none."""
    found = _DATE.fullmatch(folder.rstrip("/").rpartition("/")[2])
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def days(start: datetime, end: datetime) -> Iterator[date]:
    """The days from ``start`` up to, not including, ``end``."""
    day = start.date()
    while datetime(day.year, day.month, day.day, tzinfo=UTC) < end:
        yield day
        day += timedelta(days=1)


def file_name(writer: str, sequence: int) -> str:
    """Of a file that a writer ships.

    Raises:
        RejectError: ``writer`` is no UID, so that its files would not come before merged ones.
    """
    if _WRITER.fullmatch(writer) is None:
        raise RejectError(f"{shown(writer, 80)} is no UID", hint="Hex digits and - are expected", field="writer")
    return f"{writer}-{sequence:08d}{SUFFIX}"


def merged_name(sequence: int) -> str:
    """Of a merged file."""
    return f"merged-{sequence:06d}{SUFFIX}"


def merged_sequence(name: str) -> int | None:
    """Of a merged file's name; None where it is another file's."""
    found = _MERGED.fullmatch(name)
    return int(found[1]) if found else None


def is_data(name: str) -> bool:
    """Whether a file in an hour's folder holds rows; what begins with . or _ is being written, or somebody else's."""
    return name.endswith(SUFFIX) and name[0] not in "._"


def counting(names: Iterable[str], replaces: Mapping[str, Iterable[str]]) -> list[str]:
    """The files of one folder that count, in the order of their names.

    Args:
        names: all files of rows there.
        replaces: for each merged one of them the names that it replaces.
    """
    replaced = {name for listed in replaces.values() for name in listed}
    return sorted(name for name in names if name not in replaced)
