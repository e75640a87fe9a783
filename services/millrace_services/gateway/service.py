"""A feature read from request to answer: parse, plan, keys, one MGET, columns, JSON."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

import orjson

from millrace_core.base.errors import NotFoundError, TooLargeError
from millrace_core.features.evaluation.time_limit import LIGHT_STEPS
from millrace_core.features.online import feast_form, keys
from millrace_core.features.online.feature_columns import (
    NOT_FOUND,
    NULL_VALUE,
    OUTSIDE_MAX_AGE,
    PRESENT,
    FeatureColumns,
)
from millrace_core.features.online.on_demand import Request
from millrace_core.features.online.plan import ReadPlan, ReadPlans, ViewRead
from millrace_core.features.online.request import FeatureRequest, is_stream, parse
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import NO_ENTITY
from millrace_data.online.resp import KeyGroup
from millrace_services.gateway import answer, answer_form
from millrace_services.gateway.arrow_bodies import ArrowBodies, Worker
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.evaluations import Evaluations
from millrace_services.gateway.store import RowStore
from millrace_services.web.hot import Answer, Call
from millrace_services.web.metrics import Series

if TYPE_CHECKING:
    from millrace_services.web.spans import Spans

logger = logging.getLogger(__name__)

# https://opentelemetry.io/docs/specs/semconv/database/redis/
_STORE: Final = {"db.system.name": "redis", "db.operation.name": "MGET"}

CountErrors = Callable[[tuple[str, str], Mapping[str, int]], None]


@dataclass(frozen=True)
class ReadMetrics:
    """The measurements of reads.

    Attributes:
        values: how many values were answered, by status.
        store_seconds: how long the store took.
        unreadable: called with the number of schemas of stored rows that nothing knows.
        expression_errors: called with project and view, and for how many rows the expression of a feature failed.
        spans: of reads of the store; None: nobody wants them.
    """

    values: MutableMapping[str, int]
    store_seconds: Series
    unreadable: Callable[[float], None]
    expression_errors: CountErrors
    spans: Spans | None = None

    def store_read(self, began: float, keys: Sequence[Sequence[Any]]) -> None:
        """Measures a read of the store that has ended, of keys by view; ``began`` by ``perf_counter``."""
        ended = perf_counter()
        self.store_seconds.observe(ended - began)
        if self.spans is not None:
            self.spans.record_call("MGET", began, ended, {**_STORE, "db.operation.batch.size": sum(map(len, keys))})

    def statuses(self, read: Sequence[FeatureColumns], rows: int) -> None:
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


def _shared(columns: FeatureColumns) -> Iterator[tuple[Sequence[str], int]]:
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
        bodies: opens Arrow bodies.
        evaluations: where expressions that may take long are evaluated.
        now: the present moment in microseconds.
        metrics: the measurements.
    """

    definitions: Definitions
    store: RowStore
    default_project: str
    max_rows: int
    bodies: ArrowBodies
    evaluations: Evaluations
    now: Callable[[], int]
    metrics: ReadMetrics

    def __post_init__(self) -> None:
        self._plans = ReadPlans()
        self._worker = Worker()
        # Layouts of stored rows by (project, view). The layout of a schema never changes, so none is fetched twice.
        self._layouts: dict[tuple[str, str], Mapping[bytes, Layout]] = {}

    async def handle(self, call: Call, *, feast: bool = False) -> Answer:
        """One request, with ``feast`` in the form of Feast's server (``feast_form``).

        Raises what ``millrace_services.web.errors`` maps to statuses.
        """
        content_type, accept = _media_types(call)
        came_as_stream, stream_accepted = is_stream(content_type), is_stream(accept)
        arrow: Any = await _arrow() if came_as_stream or stream_accepted else None
        as_json = not stream_accepted and (not came_as_stream or b"json" in accept)
        codec = None if as_json else arrow
        if not came_as_stream:
            request = parse(call.body, self.default_project, feast_form.loads if feast else orjson.loads)
            return await self._answer(request, codec, len(call.body), feast=feast, binary=False)
        async with self.bodies.opened(call.body) as stream:
            request = await self._worker.run(stream.weight, arrow.parse, stream, self.default_project)
            return await self._answer(request, codec, stream.weight, feast=feast, binary=True)

    async def _answer(self, request: FeatureRequest, arrow: Any, size: int, *, feast: bool, binary: bool) -> Answer:
        """The answer to ``size`` bytes, as a stream where the codec ``arrow`` is given; ``binary``: bytes came as
        bytes."""
        plan = await self._plan(request)
        came = request.entities
        if feast:
            request = request._replace(entities=feast_form.columns(plan.types, request.entities))
        dummies = feast_form.DUMMY_KEYS if feast and plan.has_global else ()
        feast_form.check_dummies(dummies, came)
        request = request.split((*plan.join_keys, *dummies), plan.request_fields)
        if plan.binary_keys and not binary:
            request = request.decoded(plan.binary_keys)
        if request.rows * len(plan.reads) > self.max_rows:
            raise TooLargeError(
                f"{request.rows} entities of {len(plan.reads)} views came, {self.max_rows} rows at once are the most",
                hint="Send fewer entities at once, or raise MILLRACE_MAX_ROWS",
                field="entities",
            )
        rows = await self._rows(plan, request)
        now = self.now()
        if arrow is not None:
            read = await self._read(plan, request, rows, now, size)
            return Answer(200, arrow.encode(plan, request.entities, read), (arrow.CONTENT_TYPE,))
        if feast:
            request = request._replace(entities={name: came[name] for name in request.entities})
        body = self._plain(plan, request, rows, now)
        if body is None:
            read = await self._read(plan, request, rows, now, size)
            form = answer_form.FEAST if feast else answer_form.MILLRACE
            body = answer.encode(plan, request.entities, request.rows, read, form)
        return Answer(200, body)

    async def describe(self, call: Call) -> Answer:
        """``POST /get-feature-metadata``: names and types of what a read of these features takes and gives.

        Raises what ``millrace_services.web.errors`` maps to statuses.
        """
        plan = await self._plan(parse(call.body, self.default_project))
        return Answer(200, orjson.dumps(metadata(plan)))

    async def _plan(self, request: FeatureRequest) -> ReadPlan:
        try:
            plan = self._compiled(request)
        except NotFoundError:
            # It may have been applied a moment ago.
            if not await self.definitions.look_again():
                raise
            plan = self._compiled(request)
        if not plan.prepared and plan.computes:
            await asyncio.to_thread(plan.prepare)
        return plan

    def _compiled(self, request: FeatureRequest) -> ReadPlan:
        snapshot = self.definitions.current
        refs = request.refs or snapshot.feature_service(request.project, request.feature_service)
        return self._plans.get(snapshot, request.project, refs, full_names=request.full_feature_names)

    def _plain(self, plan: ReadPlan, request: FeatureRequest, rows: Sequence[bytes | None], now: int) -> bytes | None:
        """The JSON body; None where some row is not plain (``millrace_core.features.online.plain``)."""
        columns = plan.plain.read(rows, now) if plan.plain is not None else None
        if columns is None:
            return None
        self.metrics.values[PRESENT] += len(plan.names) * request.rows
        return answer.encode_plain(plan, request.entities, request.rows, columns)

    async def _read(
        self, plan: ReadPlan, request: FeatureRequest, rows: Sequence[bytes | None], now: int, size: int
    ) -> list[FeatureColumns]:
        """The columns of each view."""
        read = []
        for index, view in enumerate(plan.reads):
            view_rows = rows[index * request.rows : (index + 1) * request.rows]
            columns = await self._columns(view, view_rows, now, request.request_values, size)
            if columns.unknown:
                columns = await self._read_other_layouts(view, view_rows, now, request.request_values, size)
            if columns.errors:
                self.metrics.expression_errors(view.name, columns.errors)
            read.append(columns)
        self.metrics.statuses(read, request.rows)
        return read

    async def _columns(
        self, view: ViewRead, rows: Sequence[bytes | None], now: int, request_values: Request, size: int
    ) -> FeatureColumns:
        """The columns of one view. Where its expressions may take long they are evaluated in a thread, one read of the
        view at a time; what is surely short would take longer to hand over."""
        reader, layouts = view.reader, self._layouts.get(view.name)
        if not reader.computes:
            return reader.read(rows, now, request_values, layouts)
        if not self.evaluations.busy(reader) and reader.work(rows, size) <= LIGHT_STEPS:
            return reader.read(rows, now, request_values, layouts)
        project, _ = view.name
        found: FeatureColumns = await self.evaluations.run(
            project, reader, reader.read, rows, now, request_values, layouts
        )
        return found

    async def _rows(self, plan: ReadPlan, request: FeatureRequest) -> Sequence[bytes | None]:
        """The rows of all entities, view by view; ``NO_ENTITY`` where a join key is null."""
        entities: list[list[bytes | None]] = []
        for index, first in enumerate(plan.alike):
            entities.append(
                entities[first]
                if first < index
                else keys.entity_texts(plan.reads[index].definition, request.entities, request.rows)
            )
        some_null = any(None in view for view in entities)
        ends: Any = [[entity for entity in view if entity is not None] for view in entities] if some_null else entities
        began = perf_counter()
        found = await self.store.rows(list(map(KeyGroup, plan.prefixes, ends)))
        self.metrics.store_read(began, ends)
        if not some_null:
            return found
        rows = iter(found)
        return [NO_ENTITY if entity is None else next(rows) for view in entities for entity in view]

    async def _read_other_layouts(
        self, view: ViewRead, rows: Sequence[bytes | None], now: int, request_values: Request, size: int
    ) -> FeatureColumns:
        """Reads rows of which some were written under another definition, whose layout the view's meta key keeps."""
        # What is known of a schema stays true, though the store may have forgotten it.
        known = self._layouts.get(view.name, {})
        self._layouts[view.name] = {**known, **await self.store.layouts(*view.name)}
        columns = await self._columns(view, rows, now, request_values, size)
        if columns.unknown:
            self.metrics.unreadable(len(columns.unknown))
            logger.warning(
                "feature view %s/%s has rows of unknown schemas %s; they count as not found",
                *view.name,
                ", ".join(sorted(known.hex() for known in columns.unknown)),
            )
        return columns


def metadata(plan: ReadPlan) -> dict[str, list[dict[str, str]]]:
    """Names and types of features, as answers have them, of join keys and of request fields."""
    types = {position: kind for view in plan.reads for position, kind in zip(view.positions, view.types, strict=True)}
    fields, keys_and_fields = plan.request_fields, dict(plan.types)
    return {
        "features": [{"name": name, "type": types[position]} for position, name in enumerate(plan.names)],
        "entities": [{"name": name, "type": kind} for name, kind in plan.types if name not in fields],
        "request_fields": [{"name": name, "type": keys_and_fields[name]} for name in sorted(fields)],
    }


async def _arrow() -> Any:
    """The Arrow codec, imported at its first use: that takes half a second, and most gateways never need it."""
    return await asyncio.to_thread(import_module, "millrace_core.features.online.arrow_stream")


def _media_types(call: Call) -> tuple[bytes, bytes]:
    content_type = accept = b""
    for name, value in call.scope["headers"]:
        if name == b"content-type":
            content_type = value
        elif name == b"accept":
            accept = value
    return content_type, accept
