"""The online store as the gateway knows it: one round trip per request, and an answer within the timeout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from millrace_core.base.errors import RetryError
from millrace_core.features.online import keys, store_url
from millrace_core.features.online.row import Layout
from millrace_core.features.online.row_reader import layouts_of
from millrace_data.online import meta
from millrace_data.online.client import open_client
from millrace_data.online.resp import Command, KeyGroup, hash_reply
from millrace_data.online.store_errors import StoreError


class RowStore:
    """Packed rows. Connections are opened on first use and again after the store comes back.

    All methods raise ``RetryError`` where the store does not answer within the timeout.
    """

    def __init__(self, url: str, timeout: float) -> None:
        where = store_url.parse(url)
        self.by_slot = where.kind == "cluster"
        self._client = open_client(where, timeout)

    async def rows(self, groups: Sequence[KeyGroup]) -> list[bytes | None]:
        """The rows of these keys, None where there is none; one MGET, on a cluster one per slot, all at once."""
        if not any(ends for _, ends in groups):
            return []
        try:
            return await self._client.mget(groups)
        except StoreError as error:
            raise _unavailable(error) from error

    async def layouts(self, project: str, view: str) -> dict[bytes, Layout]:
        """The layouts that the view's rows may have, by schema id."""
        with _explained():
            return layouts_of(hash_reply(await self._client.execute(b"HGETALL", keys.meta(project, view), [])))

    async def announce(self, project: str, view: str, layout: Layout) -> None:
        """Makes the layout of rows to come known."""
        with _explained():
            arguments = [meta.ANNOUNCE, *meta.announcement(layout)]
            await self._client.execute(b"EVAL", meta.key(project, view), arguments)

    async def write(self, commands: Sequence[Command]) -> int:
        """Calls of the write rule; how many rows were newer than what was there."""
        with _explained():
            return sum(await self._client.execute_all(commands))

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise _unavailable(error) from error


def _unavailable(error: StoreError) -> RetryError:
    return RetryError(
        f"the online store gives no answer: {error}",
        hint="Try again; the gateway answers again as soon as the store does",
        reason="StoreUnavailable",
        delay=1,
    )
