"""The online store as the gateway knows it: one round trip per request, and an answer within the timeout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from millrace_core.features.online import kept_definitions, keys, store_url
from millrace_core.features.online.generation import TOLERANCE, Generation
from millrace_core.features.online.kept_definitions import Head, Kept
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import layouts_of
from millrace_data.online import meta
from millrace_data.online.client import open_client
from millrace_data.online.resp import Command, KeyGroup, hash_reply
from millrace_data.online.store_errors import Caller, StoreError, explain
from millrace_data.online.sums_state import Script

# Clients of the gateway can only try again or tell somebody; where the store is, is not for them.
GATEWAY: Final = Caller(
    "the gateway's MILLRACE_STORE_URL",
    "Tell whoever runs the gateway to do this: {advice}",
    "Try again; if it lasts, tell whoever runs the gateway to do this: {advice}",
    shown=False,
)


class RowStore:
    """Packed rows. Connections are opened on first use and again after the store comes back.

    All methods raise what the table of store errors has: ``RetryError`` where the store does not answer within the
    timeout, ``ReportError`` where it refuses.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._where = store_url.parse(url)
        self.by_slot = self._where.kind == "cluster"
        self._client = open_client(self._where, timeout)

    async def rows(self, groups: Sequence[KeyGroup]) -> list[bytes | None]:
        """The rows of these keys, None where there is none; one MGET, on a cluster one per slot, all at once."""
        if not any(ends for _, ends in groups):
            return []
        try:
            return await self._client.mget(groups)
        except StoreError as error:
            raise explain(error, self._where, GATEWAY) from error

    async def layouts(self, project: str, view: str) -> dict[bytes, Layout]:
        """The layouts that the view's rows may have, by schema id."""
        with self._explained():
            return layouts_of(hash_reply(await self._client.execute(b"HGETALL", keys.meta(project, view), [])))

    async def watermark(self, project: str, view: str) -> int | None:
        """Up to which event time the store has the view, microseconds; None where it has no record of it."""
        with self._explained():
            found: Any = await self._client.execute(b"HGET", keys.meta(project, view), [keys.META_WATERMARK])
        return None if found is None else int(found)

    async def announce(self, project: str, view: str, layout: Layout, tolerance: int = TOLERANCE) -> Generation:
        """Makes known the layout of rows to come, and how much later than now they may be; gives their generation."""
        with self._explained():
            arguments = [meta.ANNOUNCE, *meta.announcement(layout, tolerance)]
            generation: Any = await self._client.execute(b"EVAL", meta.key(project, view), arguments)
            return Generation(*generation)

    async def write(self, commands: Sequence[Command]) -> int:
        """Calls of the write rule; how many rows were newer than what was there."""
        with self._explained():
            return sum(await self._client.execute_all(commands))

    async def execute(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Any:
        """The reply to a command on one key (of EVAL: the script first)."""
        with self._explained():
            return await self._client.execute(command, key, arguments)

    async def evaluate(self, script: Script, key: bytes, arguments: Sequence[bytes]) -> Any:
        """The reply of a script on one key; it is sent where the server does not know it."""
        with self._explained():
            try:
                return await self._client.execute(b"EVALSHA", key, [script.hash, *arguments])
            except StoreError as error:
                if error.code != "NOSCRIPT":
                    raise
            return await self._client.execute(b"EVAL", key, [script.text, *arguments])

    async def kept_head(self) -> Head | None:
        """What the copy of the definitions says of itself; None where there is none that can be read."""
        arguments = [b"0", b"%d" % (kept_definitions.HEAD_BYTES - 1)]
        with self._explained():
            beginning: Any = await self._client.execute(b"GETRANGE", kept_definitions.KEY, arguments)
        return kept_definitions.head(beginning)

    async def kept(self) -> Kept | None:
        """The copy of the definitions; None where there is none.

        Raises:
            ReportError: it cannot be read (``BadDefinitions``).
        """
        with self._explained():
            value: Any = await self._client.execute(b"GET", kept_definitions.KEY, [])
        return None if value is None else kept_definitions.decode(value)

    async def keep(self, copy: bytes) -> None:
        """Puts a copy of the definitions in the place of the one that is there."""
        with self._explained():
            await self._client.execute(b"SET", kept_definitions.KEY, [copy])

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except StoreError as error:
            raise explain(error, self._where, GATEWAY) from error
