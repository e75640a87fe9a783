"""The online store as the gateway reads it: one round trip per request, and an answer within the timeout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from millrace.base.errors import RetryError
from millrace.features import keys
from millrace.features.reading import layouts_of
from millrace.features.row import Layout
from millrace.online.pipe import Pipe, Reply, StoreError, pairs


class RowStore:
    """Reads packed rows. The connection is opened on first use and again after the store comes back."""

    def __init__(self, url: str, timeout: float) -> None:
        self._pipe = Pipe(url, timeout)

    async def rows(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """The rows of these keys, None where there is none; one MGET.

        Raises:
            RetryError: the store does not answer within the timeout.
        """
        if not wanted:
            return []
        return cast("list[bytes | None]", await self._ask(b"MGET", wanted))

    async def layouts(self, project: str, view: str) -> dict[bytes, Layout]:
        """The layouts that the view's rows may have, by schema id.

        Raises:
            RetryError: the store does not answer within the timeout.
        """
        return layouts_of(pairs(await self._ask(b"HGETALL", [keys.meta(project, view)])))

    def close(self) -> None:
        """Closes the connection."""
        self._pipe.close()

    async def _ask(self, command: bytes, arguments: Sequence[bytes]) -> Reply:
        try:
            return await self._pipe.ask(command, arguments)
        except StoreError as error:
            raise RetryError(
                f"the online store gives no answer: {error}",
                hint="Try again; the gateway answers again as soon as the store does",
                reason="StoreUnavailable",
                delay=1,
            ) from error
