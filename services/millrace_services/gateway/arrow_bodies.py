"""Arrow bodies taken in: limited by their headers, what they become admitted, all of it off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from millrace_services.gateway.admission import Admission

if TYPE_CHECKING:
    from millrace_core.features.online.ipc_limits import Stream

# Bodies that are worked on at once: others wait as bytes, which are far smaller than what they are read into.
_AT_ONCE: Final = 2
# Smaller ones are worked on on the spot, which is faster than to hand them to a thread.
_SMALL: Final = 16 << 10


class Worker:
    """Does work that takes time by the size of a body: small ones at once, others in a thread, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self, size: int, call: Callable[..., Any], *arguments: Any) -> Any:
        """What ``call`` returns; ``size`` is that of the body in bytes, or of what it becomes."""
        if size <= _SMALL:
            return call(*arguments)
        async with self._turns:
            return await asyncio.to_thread(call, *arguments)


class ArrowBodies:
    """Opens Arrow bodies.

    Args:
        rows: most rows of one body. None: its bytes alone limit it.
        most: most bytes of one body once it is decoded.
        admission: where they count, while the body is in work.
    """

    def __init__(self, rows: int | None, most: int, admission: Admission) -> None:
        self._rows = rows
        self._most = most
        self._admission = admission
        self._worker = Worker()

    @asynccontextmanager
    async def opened(self, body: bytes, counted: int = 0) -> AsyncIterator[Stream]:
        """A body as a stream within the limits; ``counted`` bytes of it are admitted already.

        Raises:
            RejectError: it is no stream of plain columns. TooLargeError: it is beyond the limits.
            OverloadedError: there is no room for it now.
        """
        # It brings Arrow, which takes half a second that gateways without such bodies need not pay.
        ipc_limits = await asyncio.to_thread(import_module, "millrace_core.features.online.ipc_limits")
        limits = ipc_limits.Limits(self._rows, self._most, "MILLRACE_MAX_ROWS", "MILLRACE_MAX_BODY_BYTES")
        stream: Stream = await self._worker.run(len(body), ipc_limits.check, body, limits)
        more = max(0, stream.weight - counted)
        self._admission.enter(more, counted)
        try:
            yield stream
        finally:
            self._admission.leave(more)
