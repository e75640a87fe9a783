"""Outcomes that were taken: out of the evidence lake, and the sums that are made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import pyarrow as pa

from millrace.sdk import evidence
from millrace.sdk.tabular import Tabular, whole_file
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base import bearer
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_data.evidence import reading_outcomes
from millrace_data.evidence.reading_outcomes import Question

GATEWAY = "MILLRACE_GATEWAY_URL"
_IN_LAPTOP_MODE = (
    "In the laptop mode it is http://millrace-gateway.millrace-system.svc, with http_proxy set to the mesh's address, "
    "such as http://127.0.0.1:18080"
)
_REBUILD_SECONDS = 600.0
_ERRORS: Final[Mapping[int, type[MillraceError]]] = {401: RejectError, 404: NotFoundError}


@dataclass(frozen=True)
class Outcomes(Tabular):
    """Outcomes in the order of their times; each id once."""

    table: pa.Table


def read(
    experiment: str | None = None,
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    lake: str | os.PathLike[str] | None = None,
    limit: int | None = None,
) -> Outcomes:
    """Outcomes of an experiment, or of all of a namespace.

    Args:
        start, end: of when they were received, ``end`` not included; absent: the day before ``end``, and now.
        lake: ``s3://bucket/path``, ``file:///path`` or a path; absent: ``MILLRACE_LAKE_URI``.
        limit: at most so many rows, the newest.

    Raises:
        RejectError: no lake is named, or it may not be read. RetryError: it does not answer.
    """
    since, until = evidence.period(start, end)
    question = Question(namespace, since, until, experiment, limit)
    return Outcomes(reading_outcomes.read(evidence.lake(lake), question))


def export(
    experiment: str | None,
    path: str | os.PathLike[str],
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    lake: str | os.PathLike[str] | None = None,
) -> int:
    """Writes outcomes to one Parquet file, hour after hour; how many. Their ids have to fit into memory, and no more.

    Args:
        experiment, start, end, lake: as ``read`` has them.

    Raises:
        RejectError: as ``read``, or the file cannot be written. RetryError: as ``read``.
    """
    from millrace_data.evidence import exporting  # noqa: PLC0415 what few callers need

    since, until = evidence.period(start, end)
    with whole_file(Path(path)) as partial:
        return exporting.write_outcomes(evidence.lake(lake), Question(namespace, since, until, experiment), partial)


def rebuild(
    experiment: str,
    *,
    namespace: str,
    gateway: str | None = None,
    without: Sequence[str] = (),
    token: str | os.PathLike[str] | None = None,
) -> None:
    """Has a gateway make the sums of an experiment anew, of what was logged.

    Args:
        gateway: its URL; absent: ``MILLRACE_GATEWAY_URL``.
        without: logs of gateways that do not come back, by uid: what they had and the lake has not is given up.
        token: as in ``FeatureStore.connect``.

    Raises:
        RejectError: no gateway is named, or it takes no such token. NotFoundError: it knows no such experiment.
        RetryError: it does not answer, or not with success.
    """
    url = (gateway or os.environ.get(GATEWAY, "")).rstrip("/")
    if not url:
        raise RejectError(
            "no gateway is named",
            hint=f"Pass its URL, or set {GATEWAY}; on the command line it is --gateway. {_IN_LAPTOP_MODE}",
            field="gateway",
        )
    headers = bearer.of(os.environ, token).headers()
    path = f"/experiments/{namespace}/{experiment}/rebuild"
    body = {"without": list(without)}
    try:
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=_REBUILD_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RetryError(f"the gateway at {url} does not answer: {error}", field="gateway") from error
    if answer.is_success:
        return
    try:
        told = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        told = f"it answered {answer.status_code}"
    kind = _ERRORS.get(answer.status_code, RetryError)
    raise kind(f"the sums of {namespace}/{experiment} were not rebuilt: {told}")
