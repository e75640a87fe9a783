"""Pushes: each row checked, those that fit written to the online store, to the view's log, or to both.

Rows are encoded and written as materialization does it, so pushes and runs may come in any order. The log comes first:
what it holds is the history, and a push that fails behind it is sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any, Final

import orjson
import pyarrow as pa

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.time_limit import LIGHT_STEPS
from millrace_core.features.online import push_batch, push_request
from millrace_core.features.online.push_batch import PushClock
from millrace_core.features.online.push_request import PushRequest
from millrace_core.features.online.request import is_stream
from millrace_core.features.online.row import Layout
from millrace_data.online.commands import WriteContext
from millrace_services.gateway import push_rows
from millrace_services.gateway.arrow_bodies import ArrowBodies, Worker
from millrace_services.gateway.definitions import Definitions
from millrace_services.gateway.evaluations import Evaluations
from millrace_services.gateway.push_rows import Work
from millrace_services.gateway.service import CountErrors
from millrace_services.gateway.store import RowStore
from millrace_services.web.errors import ConflictError
from millrace_services.web.hot import JSON, Answer, Call

logger = logging.getLogger(__name__)

_ANSWERS_KEPT: Final = 1000
_SHOWN: Final = 1000

# Appends rows to a view's log, once for each id; blocks. Raises ``MillraceError``.
Append = Callable[[Definition, pa.Table, str], Any]
# Counts of rows by outcome: written, skipped, logged or rejected.
Counts = MutableMapping[str, int]


@dataclass
class Pushes:
    """Answers ``POST /push``.

    Args:
        append: writes the log.
        bodies: opens Arrow bodies.
        evaluations: where expressions that may take long are evaluated.
        counts: what became of rows.
        count_errors: counts for how many rows the expression of a feature failed.
        now: the present moment in microseconds.
        tolerance: how much later than now event times may be, microseconds.
    """

    definitions: Definitions
    store: RowStore
    default_project: str
    append: Append
    bodies: ArrowBodies
    evaluations: Evaluations
    counts: Counts
    count_errors: CountErrors
    now: Callable[[], int]
    tolerance: int
    _answers: OrderedDict[tuple[str, str, str], tuple[bytes, Answer]] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._worker = Worker()

    async def handle(self, call: Call, *, feast: bool = False) -> Answer:
        """One push, with ``feast`` in the form of Feast's clients (``feast_form``).

        Raises what ``millrace_services.web.errors`` maps to statuses.
        """
        key = (call.header(b"idempotency-key") or b"").decode("latin-1")
        size, given = len(call.body), (self.default_project, key)
        if not is_stream(call.header(b"content-type")):
            parse = partial(push_request.from_json, feast=feast)
            request = await self._worker.run(size, parse, call.body, *given)
            return await self._answer(call, request, size)
        async with self.bodies.opened(call.body, size) as stream:
            size = max(size, stream.weight)
            request = await self._worker.run(size, push_request.from_stream, stream, *given)
            return await self._answer(call, request, size)

    async def _answer(self, call: Call, request: PushRequest, size: int) -> Answer:
        digest = sha256(call.body).digest()
        name = (request.project, request.view, request.id)
        known = self._answers.get(name) if request.id else None
        if known is not None:
            if known[0] != digest:
                raise ConflictError(f"the push {request.id!r} came before with other rows", field="id")
            return known[1]
        definition = await self._definition(request)
        self._require_possible(definition, request)
        clock = PushClock(self.now(), self.tolerance, "the gateway's MILLRACE_PUSH_TOLERANCE")
        heavy = push_rows.filters(definition)
        work = await self._made(definition, heavy, size, push_rows.checked, definition, request, clock)
        answer = await self._land(definition, request, work, digest, size)
        if request.id:
            self._answers[name] = digest, answer
            if len(self._answers) > _ANSWERS_KEPT:
                self._answers.popitem(last=False)
        return answer

    async def _definition(self, request: PushRequest) -> Definition:
        place = request.project, request.view
        try:
            return self.definitions.current.view(*place, field=request.view_field)
        except NotFoundError:
            # It may have been applied a moment ago.
            if not await self.definitions.look_again():
                raise
            return self.definitions.current.view(*place, field=request.view_field)

    def _require_possible(self, definition: Definition, request: PushRequest) -> None:
        if request.online:
            push_batch.require_online(definition)
        if request.offline and definition.source.push is None:
            raise RejectError(
                f"feature view {definition.view!r} keeps no log of pushed rows",
                hint="Give it spec.source.push, or push to online",
                field="to",
            )

    async def _write(self, definition: Definition, tables: Sequence[pa.Table], size: int) -> tuple[int, dict[str, int]]:
        """Writes rows as they are of the view's present generation: how many were newer, and expressions' failures."""
        layout = Layout.of(definition)
        generation = await self.store.announce(definition.project, definition.view, layout, self.tolerance)
        context = WriteContext(self.now(), generation, pushed=True)
        by_slot = self.store.by_slot
        heavy = push_rows.steps(definition, sum(table.num_rows for table in tables), size) > LIGHT_STEPS
        arguments = definition, tables, context, by_slot
        commands, errors = await self._made(definition, heavy, size, push_rows.commands, *arguments)
        return await self.store.write(commands), errors

    async def _made(self, definition: Definition, heavy: bool, size: int, call: Callable[..., Any], *given: Any) -> Any:
        """What ``call`` makes of a body of this size, off the event loop where expressions may take long."""
        if not heavy:
            return await self._worker.run(size, call, *given)
        view = definition.project, definition.view
        return await self.evaluations.run(definition.project, view, call, *given)

    async def _land(self, definition: Definition, request: PushRequest, work: Work, digest: bytes, size: int) -> Answer:
        rows, rejected = work.table.num_rows, work.rejected
        document: dict[str, Any] = {"view": request.view, "rows": rows + len(rejected), "accepted": rows}
        if rows and request.offline:
            # An id that comes again with other rows (after a restart nobody knows) must not lose them.
            identity = sha256(request.id.encode() + digest).hexdigest()
            await asyncio.to_thread(self.append, definition, work.table, identity)
            document["offline"] = {"rows": rows}
            self.counts["logged"] += rows
        if rows and request.online:
            written, errors = await self._write(definition, work.online, size)
            document["online"] = {"written": written, "skipped": rows - written}
            if errors:
                document["expression_errors"] = errors
                self.count_errors((definition.project, definition.view), errors)
            self.counts["written"] += written
            self.counts["skipped"] += rows - written
        document["rejected"] = [
            {"index": each.row, "column": each.column, "reason": each.reason} for each in rejected[:_SHOWN]
        ]
        document["rejected_rows"] = len(rejected)
        if rejected:
            self.counts["rejected"] += len(rejected)
            logger.warning("rows of a push do not fit", extra={"view": request.view, "rejected": len(rejected)})
        if rejected and not rows:
            document |= {"error": f"no row fits; the first: {rejected[0].reason}", "reason": "Invalid"}
            return Answer(400, orjson.dumps(document))
        return Answer(200, orjson.dumps(document), (JSON,))
