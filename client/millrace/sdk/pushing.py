"""Pushes: rows to the online store, to the view's log, or to both; directly, or through the gateway."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import httpx
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from millrace.sdk import time_arguments
from millrace.sdk.registry import error_of
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import RejectError, RetryError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import push_batch
from millrace_core.features.online.arrow_stream import METADATA
from millrace_core.features.online.push_batch import PushClock
from millrace_core.features.online.push_request import TO
from millrace_core.features.online.request import STREAM
from millrace_core.features.types.content_id import content_id
from millrace_data.online.store import Store
from millrace_data.online.writer import RowWriter
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.push_log import PushLog

SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 5.0
_TOO_MANY: Final = 429

To = Literal["online", "offline", "online_and_offline"]


@dataclass(frozen=True)
class RejectedRow:
    """A row that did not land: its index in what was pushed, the column at fault, and why."""

    index: int
    column: str
    reason: str


@dataclass(frozen=True)
class PushResult:
    """What became of a push.

    Attributes:
        view: name of the view.
        accepted: rows that fit.
        written: of these the ones that the online store took; None where they did not go there.
        skipped: of these the ones that were no newer than what it had.
        logged: rows added to the view's log; 0 where this very push was there; None where they did not go there.
        rejected: rows that do not fit.
        expression_errors: for how many rows the expression of a feature failed, by feature; its value is null for them.
            Empty where they did not go to the online store.
    """

    view: str
    accepted: int
    written: int | None
    skipped: int | None
    logged: int | None
    rejected: Sequence[RejectedRow]
    expression_errors: Mapping[str, int] = field(default_factory=dict)


class Pusher(Protocol):
    """A way to push."""

    def push(self, definition: Definition, rows: pa.Table, to: To) -> PushResult:
        """Pushes rows, of which those that do not fit are left out."""


class StorePusher:
    """Writes store and log itself.

    Args:
        url: gives the store's URL; None where there is no store.
    """

    def __init__(self, url: Callable[[], str] | None) -> None:
        self._url = url

    def push(self, definition: Definition, rows: pa.Table, to: To) -> PushResult:
        """The log comes first: what it holds is the history, and a push that fails behind it is pushed again.

        Raises:
            RejectError: the view cannot be pushed so, or no row fits. RetryError: store or log do not answer.
        """
        now = time_arguments.now()
        checked = push_batch.from_arrow(definition, rows, PushClock(now))
        table, rejected = checked.table, [RejectedRow(*each) for each in checked.rejected]
        if to != "offline":
            push_batch.require_online(definition)
        if rejected and not table.num_rows:
            raise RejectError(f"no row fits; the first: {rejected[0].reason}", field=f"df.{rejected[0].column}")
        logged = written = skipped = None
        errors: Mapping[str, int] = {}
        if to != "online":
            log = PushLog(definition, Credentials.load(os.environ))
            # The same rows pushed again are the same push.
            logged = table.num_rows if log.append(table, content_id(table), now) else 0
        if to != "offline":
            written, errors = self._write(definition, table, now)
            skipped = table.num_rows - written
        return PushResult(definition.view, table.num_rows, written, skipped, logged, rejected, errors)

    def _write(self, definition: Definition, table: pa.Table, now: int) -> tuple[int, Mapping[str, int]]:
        if self._url is None:
            raise RejectError(
                "this feature store knows no online store",
                hint='Pass online="embedded" or a URL, or push to="offline"',
                field="to",
            )
        store = Store(self._url())
        errors: Counter[str] = Counter()
        generation = store.announce(definition)
        with RowWriter(
            store, definition, PATIENCE_SECONDS, now=time_arguments.now, generation=generation, pushed=True
        ).running() as writer:
            for each in push_batch.newest(definition, table, now):
                rows = push_batch.rows(definition, each)
                writer.write(rows)
                errors.update(rows.errors)
        return writer.written.changed, errors


class GatewayPusher:
    """Pushes through the gateway, as an Arrow stream.

    Args:
        bearer: what is sent to it.
    """

    def __init__(self, url: str, project: str, bearer: Bearer = OPEN) -> None:
        self._url = f"{url.rstrip('/')}/push"
        self._project = project
        self._bearer = bearer

    def push(self, definition: Definition, rows: pa.Table, to: To) -> PushResult:
        """One request.

        Raises:
            RejectError: the view cannot be pushed so, or no row fits. RetryError: the gateway does not answer, or is
            busy.
        """
        plain = _plain(rows)
        push_batch.refuse_unknown(definition, [name for name in rows.column_names if name not in plain.column_names])
        rows = plain
        request = {"view": definition.view, "to": to, "project": self._project, "id": content_id(rows)}
        rows = rows.replace_schema_metadata({METADATA: orjson.dumps(request)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        try:
            response = httpx.post(
                self._url,
                content=sink.getvalue().to_pybytes(),
                headers={"content-type": STREAM.decode(), **self._bearer.headers()},
                timeout=SECONDS,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryError(f"the gateway {self._url} gives no answer: {error}", hint="Check gateway_url=") from error
        if response.status_code == _TOO_MANY:
            raise RetryError(f"the gateway {self._url} is busy", hint="Push again in a moment, or fewer rows at once")
        if not response.is_success:
            raise error_of(response, f"the gateway {self._url} gives no answer")
        result: dict[str, Any] = orjson.loads(response.content)
        online, offline = result.get("online", {}), result.get("offline", {})
        return PushResult(
            result["view"],
            result["accepted"],
            online.get("written"),
            online.get("skipped"),
            offline.get("rows"),
            [RejectedRow(each["index"], each["column"], each["reason"]) for each in result["rejected"]],
            result.get("expression_errors") or {},
        )


def _plain(rows: pa.Table) -> pa.Table:
    """The columns as the gateway takes them (``ipc_limits``); those of types that no feature has are left out."""
    kept = {}
    for of_column, column in zip(rows.schema, rows.columns, strict=True):
        kind = of_column.type
        if isinstance(kind, pa.BaseExtensionType):
            kind = kind.storage_type
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind)  # noqa: PLW2901
        if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            kind = kind.value_type
        if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
            kind = pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
        if pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind):
            continue
        kept[of_column.name] = (
            pc.run_end_decode(column) if pa.types.is_run_end_encoded(column.type) else column.cast(kind)
        )
    return pa.table(kept)


def destination(to: str) -> To:
    """Where to.

    Raises:
        RejectError: nowhere that there is.
    """
    if to not in TO:
        raise RejectError(f"{to!r} came, one of {', '.join(TO)} is expected", field="to")
    return to  # type: ignore[return-value]
