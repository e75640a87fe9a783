"""``kubectl logs``: reads the log file that a pod's node wrote.

They are in ``<pods>/<uid>/logs``, where the node on this machine keeps them: ``<container>.log`` and, of the previous
run, ``<container>.previous.log``. Nothing that a pod says of itself becomes a path: the uid is this server's, and the
container is one of the spec's, whose names are DNS labels. A line is plain or in the format of the container runtime
interface, ``<RFC 3339 time> stdout|stderr F <text>``; only the latter has a time.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from millrace_local.apiserver.columns import parse_time
from millrace_local.apiserver.errors import StatusError, bad_request
from millrace_local.apiserver.request import Request

_LINE = re.compile(rb"^(\S+Z) (?:stdout|stderr) [FP] ?")
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The query of a log request; ``tail`` in lines, ``limit`` in bytes."""

    container: str
    follow: bool
    previous: bool
    timestamps: bool
    tail: int | None
    limit: int | None
    since: datetime | None

    @classmethod
    def of(cls, request: Request, now: datetime) -> LogOptions:
        """Reads the options from the query.

        Raises:
            StatusError: 400 or 422 for an impossible value.
        """
        seconds, since_time = request.number("sinceSeconds"), request.query.get("sinceTime", "")
        if seconds is not None and since_time:
            raise bad_request("at most one of sinceTime or sinceSeconds may be specified")
        since = None if seconds is None else now - timedelta(seconds=seconds)
        if since_time:
            since = parse_time(since_time)
            if since is None:
                raise bad_request(f'sinceTime: expected an RFC 3339 time, got "{since_time}"')
        tail, limit = request.number("tailLines"), request.number("limitBytes")
        if tail is not None and tail < 0:
            raise bad_request("tailLines: must be greater than or equal to 0")
        if limit is not None and limit < 1:
            raise bad_request("limitBytes: must be greater than 0")
        return cls(
            request.query.get("container", ""),
            request.flag("follow"),
            request.flag("previous"),
            request.flag("timestamps"),
            tail,
            limit,
            since,
        )


def log_file(pod: dict[str, Any], options: LogOptions, pods: Path | None) -> tuple[str, Path]:
    """The container's name and its log file in ``pods``, the node's folder of pods; None where there is no node.

    Raises:
        StatusError: 400 when the pod has no such container, has several and none is named, or there is no log yet.
    """
    name = pod["metadata"]["name"]
    container = _container(pod, options.container)
    written = f"{container}.previous.log" if options.previous else f"{container}.log"
    file = None if pods is None else pods / pod["metadata"]["uid"] / "logs" / written
    if file is not None and file.is_file():
        return container, file
    if options.previous:
        raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
    reason = _waiting_reason(pod, container)
    raise bad_request(f'container "{container}" in pod "{name}" is waiting to start: {reason}')


def _container(pod: dict[str, Any], wanted: str) -> str:
    spec, name = pod["spec"], pod["metadata"]["name"]
    regular = [container["name"] for container in spec.get("containers", ())]
    initial = [container["name"] for container in spec.get("initContainers") or ()]
    if wanted:
        if wanted not in regular + initial:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(regular) == 1:
        return str(regular[0])
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(regular)}]"
    raise bad_request(message + (f" or one of the init containers: [{' '.join(initial)}]" if initial else ""))


def _status(pod: dict[str, Any], container: str) -> dict[str, Any]:
    status = pod.get("status") or {}
    listed = [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]
    return next((entry for entry in listed if entry.get("name") == container), {})


def _waiting_reason(pod: dict[str, Any], container: str) -> str:
    waiting = _status(pod, container).get("state", {}).get("waiting") or {}
    return waiting.get("reason") or (
        "ContainerCreating" if pod["spec"].get("nodeName") else "the pod is not scheduled yet"
    )


def ended(pod: dict[str, Any] | None, container: str) -> bool:
    """Whether the log is complete: the pod is gone or finished, or the container will not run again."""
    if pod is None or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return True
    return "terminated" in _status(pod, container).get("state", {})


class _Tail:
    """A log file that may grow, and may be rotated."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise StatusError(500, "InternalError", f"cannot read the log {self._path}: {error.strerror}") from error

    def read(self, *, last: bool) -> bytes:
        """What was written since the last call, in whole lines; with ``last`` an unfinished line as well."""
        data = self._file.read()
        if self._replaced():
            data += self._file.read()
            self._file.close()
            self._file = self._open()
            return data + self.read(last=last)
        end = data.rfind(b"\n") + 1
        if last or end == len(data):
            return data
        self._file.seek(end - len(data), os.SEEK_CUR)
        return data[:end]

    def _replaced(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def close(self) -> None:
        self._file.close()


async def read(
    file: Path, options: LogOptions, over: Callable[[], bool], gone: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    """The bytes of the log. With ``follow`` it goes on until ``over`` is true or the client is gone (``gone``)."""
    left = options.limit
    tail = _Tail(file)
    first = True
    try:
        while not gone.is_set():
            last = not options.follow or over()
            lines = tail.read(last=last).splitlines(keepends=True)
            if first:
                lines, first = _wanted(lines, options), False
            data = b"".join(_shown(line, timestamps=options.timestamps) for line in lines)
            if left is not None:
                data, left = data[:left], left - len(data[:left])
            if data:
                yield data
            if last or left == 0:
                return
            await _pause(gone)
    finally:
        tail.close()


def _wanted(lines: list[bytes], options: LogOptions) -> list[bytes]:
    if options.since is not None:
        lines = [line for line in lines if _written_at(line) >= options.since]
    if options.tail is not None:
        lines = lines[-options.tail :] if options.tail else []
    return lines


def _written_at(line: bytes) -> datetime:
    found = _LINE.match(line)
    when = parse_time(found[1].decode()) if found else None
    return when or datetime.max.replace(tzinfo=UTC)


def _shown(line: bytes, *, timestamps: bool) -> bytes:
    found = _LINE.match(line)
    if not found:
        return line
    text = line[found.end() :]
    return found[1] + b" " + text if timestamps else text


async def _pause(gone: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_POLL_SECONDS):
            await gone.wait()
    except TimeoutError:
        return
