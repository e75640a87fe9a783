"""A feature read from request to answer: parse, plan, keys, one MGET, columns, JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import Any

from millrace_core.base.errors import NotFoundError
from millrace_core.features.online import keys, request
from millrace_core.features.online.on_demand import Request
from millrace_core.features.online.plan import Plan, Plans, ViewRead
from millrace_core.features.online.reading import NO_ENTITY, NOT_FOUND, NULL_VALUE, OUTSIDE_MAX_AGE, PRESENT, Columns
from millrace_core.features.online.request import FeatureRequest, is_stream
from millrace_core.features.online.row import Layout
from millrace_data.online.wire import Keys
from millrace_services.gateway import answer
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.store import RowStore
from millrace_services.web.errors import TooLargeError
from millrace_services.web.hot import Answer, Call
from millrace_services.web.metrics import Series

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What is measured of reads.

    Attributes:
        values: how many values were answered, by status.
        store_seconds: what the store took.
        unreadable: told how many schemas of rows nothing knows.
    """

    values: MutableMapping[str, int]
    store_seconds: Series
    unreadable: Callable[[float], None]

    def statuses(self, read: Sequence[Columns], rows: int) -> None:
        """Counts the statuses of what was read; columns that share them are counted at once."""
        for columns in read:
            if columns.alike:
                self.values[PRESENT] += len(columns.features) * rows
                continue
            for statuses, times in _shared(columns):
                present = statuses.count(PRESENT)
                self.values[PRESENT] += present * times
                if present != rows:
                    for other in (NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE):
                        self.values[other] += statuses.count(other) * times


def _shared(columns: Columns) -> Iterator[tuple[Sequence[str], int]]:
    last: Sequence[str] | None = None
    times = 0
    for column in columns.features:
        if column.statuses is last:
            times += 1
            continue
        if last is not None:
            yield last, times
        last, times = column.statuses, 1
    if last is not None:
        yield last, times


@dataclass
class FeatureReads:
    """Answers ``POST /get-online-features``.

    Args:
        now: the present moment in microseconds.
        told: what is measured.
    """

    definitions: Definitions
    store: RowStore
    default_project: str
    max_rows: int
    now: Callable[[], int]
    told: Told

    def __post_init__(self) -> None:
        self._plans = Plans()
        # Layouts that rows were met in, by (project, view); a layout never changes, so they need no look again.
        self._layouts: dict[tuple[str, str], Mapping[bytes, Layout]] = {}

    async def handle(self, call: Call) -> Answer:
        """One request; raises what ``millrace_services.web.errors`` maps to statuses."""
        content_type, accept = _media_types(call)
        came, wanted = is_stream(content_type), is_stream(accept)
        arrow: Any = await _arrow() if came or wanted else None
        asked = (arrow.parse if came else request.parse)(call.body, self.default_project)
        try:
            plan = self._compiled(asked)
        except NotFoundError:
            # It may have been applied a moment ago.
            if not await self.definitions.look_again():
                raise
            plan = self._compiled(asked)
        asked = asked.split(plan.join_keys, plan.request_fields)
        if plan.binary_keys and not came:
            asked = asked.decoded(plan.binary_keys)
        if asked.rows * len(plan.reads) > self.max_rows:
            raise TooLargeError(
                f"{asked.rows} entities of {len(plan.reads)} views came, {self.max_rows} rows at once are the most",
                hint="Send fewer entities at once, or raise MILLRACE_MAX_ROWS",
                field="entities",
            )
        rows = await self._rows(plan, asked)
        now = self.now()
        if wanted or (came and b"json" not in accept):
            read = await self._read(plan, asked, rows, now)
            return Answer(200, arrow.encode(plan, asked.entities, read), (arrow.CONTENT_TYPE,))
        body = self._plain(plan, asked, rows, now)
        if body is None:
            body = answer.encode(plan, asked.entities, asked.rows, await self._read(plan, asked, rows, now))
        return Answer(200, body)

    def _compiled(self, asked: FeatureRequest) -> Plan:
        snapshot = self.definitions.current
        refs = asked.refs or snapshot.feature_service(asked.project, asked.feature_service)
        return self._plans.get(snapshot, asked.project, refs, full_names=asked.full_feature_names)

    def _plain(self, plan: Plan, asked: FeatureRequest, rows: Sequence[bytes | None], now: int) -> bytes | None:
        """The body where all rows are plain."""
        texts = plan.plain.read(rows, now) if plan.plain is not None else None
        if texts is None:
            return None
        self.told.values[PRESENT] += len(plan.names) * asked.rows
        return answer.encode_plain(plan, asked.entities, asked.rows, texts)

    async def _read(self, plan: Plan, asked: FeatureRequest, rows: Sequence[bytes | None], now: int) -> list[Columns]:
        """What rows read as, view by view."""
        read = []
        for index, view in enumerate(plan.reads):
            own = rows[index * asked.rows : (index + 1) * asked.rows]
            columns = view.reader.read(own, now, asked.request, self._layouts.get(view.name))
            if columns.unknown:
                columns = await self._read_other_layouts(view, own, now, asked.request)
            read.append(columns)
        self.told.statuses(read, asked.rows)
        return read

    async def _rows(self, plan: Plan, asked: FeatureRequest) -> Sequence[bytes | None]:
        """Of each view the rows of all entities, one view after another."""
        texts: list[list[bytes | None]] = []
        for index, first in enumerate(plan.alike):
            texts.append(
                texts[first] if first < index else keys.entity_texts(plan.reads[index].definition, asked.entities)
            )
        some = any(None in own for own in texts)
        ends: Any = [[text for text in own if text is not None] for own in texts] if some else texts
        began = perf_counter()
        found = await self.store.rows(list(map(Keys, plan.prefixes, ends)))
        self.told.store_seconds.observe(perf_counter() - began)
        if not some:
            return found
        rest = iter(found)
        return [NO_ENTITY if text is None else next(rest) for own in texts for text in own]

    async def _read_other_layouts(
        self, view: ViewRead, rows: Sequence[bytes | None], now: int, brought: Request
    ) -> Columns:
        """Rows written under another definition are read by that one's layout, which the view's meta hash keeps."""
        self._layouts[view.name] = await self.store.layouts(*view.name)
        columns = view.reader.read(rows, now, brought, self._layouts[view.name])
        if columns.unknown:
            self.told.unreadable(len(columns.unknown))
            logger.warning(
                "feature view %s/%s has rows of unknown schemas %s; they count as not found",
                *view.name,
                ", ".join(sorted(known.hex() for known in columns.unknown)),
            )
        return columns


async def _arrow() -> Any:
    """Arrow's part, loaded when it is first asked for: most gateways never are, and it takes half a second."""
    return await asyncio.to_thread(import_module, "millrace_core.features.online.arrow_stream")


def _media_types(call: Call) -> tuple[bytes, bytes]:
    content_type = accept = b""
    for name, value in call.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"accept":
            accept = value
    return content_type, accept
