"""A feature read from request to answer: parse, plan, keys, one MGET, columns, JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from millrace.base.errors import NotFoundError
from millrace.features import keys
from millrace.features.on_demand import Request
from millrace.features.reading import Columns
from millrace.gateway import answer, request
from millrace.gateway.definitions import Definitions
from millrace.gateway.plan import Plan, Plans, ViewRead
from millrace.gateway.request import FeatureRequest, is_stream
from millrace.gateway.store import RowStore
from millrace.web.errors import TooLargeError
from millrace.web.hot import Answer, Call

logger = logging.getLogger(__name__)


@dataclass
class FeatureReads:
    """Answers ``POST /get-online-features``.

    Args:
        now: the present moment in microseconds.
        unreadable: told how many rows had a form that nothing knows.
    """

    definitions: Definitions
    store: RowStore
    default_project: str
    max_rows: int
    now: Callable[[], int]
    unreadable: Callable[[float], None]

    def __post_init__(self) -> None:
        self._plans = Plans()

    async def handle(self, call: Call) -> Answer:
        """One request; raises what ``millrace.web.errors`` maps to statuses."""
        content_type, accept = _media_types(call)
        came, wanted = is_stream(content_type), is_stream(accept)
        arrow: Any = await _arrow() if came or wanted else None
        asked = (arrow.parse if came else request.parse)(call.body, self.default_project)
        plan = await self._plan(asked)
        asked = asked.split(plan.join_keys, plan.request_fields)
        if asked.rows * len(plan.reads) > self.max_rows:
            raise TooLargeError(
                f"{asked.rows} entities of {len(plan.reads)} views came, {self.max_rows} rows at once are the most",
                hint="Send fewer entities at once, or raise MILLRACE_MAX_ROWS",
                field="entities",
            )
        read = await self._read(plan, asked)
        if wanted or (came and b"json" not in accept):
            return Answer(200, arrow.encode(plan, asked.entities, read), (arrow.CONTENT_TYPE,))
        return Answer(200, answer.encode(plan, asked.entities, asked.rows, read))

    async def _plan(self, asked: FeatureRequest) -> Plan:
        try:
            return self._compiled(asked)
        except NotFoundError:
            # It may have been applied a moment ago.
            if not await self.definitions.look_again():
                raise
            return self._compiled(asked)

    def _compiled(self, asked: FeatureRequest) -> Plan:
        snapshot = self.definitions.current
        refs = asked.refs or snapshot.feature_service(asked.project, asked.feature_service)
        return self._plans.get(snapshot, asked.project, refs, full_names=asked.full_feature_names)

    async def _read(self, plan: Plan, asked: FeatureRequest) -> list[Columns]:
        wanted = [keys.store_keys(view.definition, asked.entities) for view in plan.reads]
        found = iter(await self.store.rows([key for view in wanted for key in view if key is not None]))
        rows = [[None if key is None else next(found) for key in view] for view in wanted]
        now = self.now()
        read = [view.reader.read(part, now, asked.request) for view, part in zip(plan.reads, rows, strict=True)]
        for index, columns in enumerate(read):
            if columns.unknown:
                read[index] = await self._read_other_layouts(plan.reads[index], rows[index], now, asked.request)
        return read

    async def _read_other_layouts(
        self, view: ViewRead, rows: Sequence[bytes | None], now: int, brought: Request
    ) -> Columns:
        """Rows written under another definition are read by that one's layout, which the view's meta hash keeps."""
        definition = view.definition
        layouts = await self.store.layouts(definition.project, definition.view)
        columns = view.reader.read(rows, now, brought, layouts)
        if columns.unknown:
            self.unreadable(len(columns.unknown))
            logger.warning(
                "feature view %s/%s has rows of unknown schemas %s; they count as not found",
                definition.project,
                definition.view,
                ", ".join(sorted(known.hex() for known in columns.unknown)),
            )
        return columns


async def _arrow() -> Any:
    """Arrow's part, loaded when it is first asked for: most gateways never are, and it takes half a second."""
    return await asyncio.to_thread(import_module, "millrace.gateway.arrow")


def _media_types(call: Call) -> tuple[bytes, bytes]:
    content_type = accept = b""
    for name, value in call.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"accept":
            accept = value
    return content_type, accept
