"""The online store as the gateway reads it: one round trip per request, and an answer within the timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from millrace.base.errors import RetryError
from millrace.features import keys
from millrace.features.reading import layouts_of
from millrace.features.row import Layout


class RowStore:
    """Reads packed rows. Connections are opened on first use and again after the store comes back."""

    def __init__(self, url: str, *, timeout: float, connections: int) -> None:
        self._timeout = timeout
        self._redis = Redis.from_url(
            url, socket_timeout=timeout, socket_connect_timeout=timeout, max_connections=connections
        )

    async def rows(self, wanted: Sequence[bytes]) -> list[bytes | None]:
        """The rows of these keys, None where there is none; one MGET.

        Raises:
            RetryError: the store does not answer within the timeout.
        """
        if not wanted:
            return []
        return cast("list[bytes | None]", await self._ask(self._redis.mget(wanted)))

    async def layouts(self, project: str, view: str) -> dict[bytes, Layout]:
        """The layouts that the view's rows may have, by schema id.

        Raises:
            RetryError: the store does not answer within the timeout.
        """
        fields = await self._ask(self._redis.hgetall(keys.meta(project, view)))
        return layouts_of(fields)

    async def close(self) -> None:
        """Closes every connection."""
        await self._redis.aclose()

    async def _ask(self, question: Any) -> Any:
        try:
            async with asyncio.timeout(self._timeout):
                return await question
        except (TimeoutError, RedisError, OSError) as error:
            raise RetryError(
                f"the online store gives no answer: {str(error) or f'nothing within {self._timeout:g} s'}",
                hint="Try again; the gateway answers again as soon as the store does",
                reason="StoreUnavailable",
                delay=1,
            ) from error
