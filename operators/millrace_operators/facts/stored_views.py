"""How far the online store has a view, as the gateway, which may read the store, finds it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final
from urllib.parse import quote

import aiohttp

from millrace_core.base import timestamps
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.timeouts import ANSWER_SECONDS
from millrace_operators.facts.fact import TIMED_OUT, FactRequest
from millrace_operators.facts.source import PAUSE, FactSource, NoReading, Reading

# What is no answer, or none that is understood.
_NO_ANSWER: Final = (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, RejectError)


@dataclass(frozen=True)
class StoredWatermark(FactRequest[datetime]):
    """The event time up to which the store has a view; absent: the store has no record of it."""

    may_be_absent: ClassVar[bool] = True

    namespace: str
    view: str

    def __str__(self) -> str:
        return f"how far the online store has the FeatureView {self.view}"


class StoredViews(FactSource):
    """Asks the gateway.

    Args:
        url: base URL of the gateway.
        now: the present moment.
        bearer: what is sent to the gateway.
    """

    name = "the gateway"
    answers = StoredWatermark
    pause = PAUSE

    def __init__(self, url: str, now: Callable[[], datetime], bearer: Bearer = OPEN) -> None:
        self._url = f"{url.rstrip('/')}/v1/feature-views"
        self._now = now
        self._bearer = bearer

    async def read(self, request: StoredWatermark) -> Reading[datetime] | NoReading:
        """One GET."""
        url = f"{self._url}/{quote(request.namespace)}/{quote(request.view)}/online"
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        try:
            headers = self._bearer.headers()
            async with (
                aiohttp.ClientSession(trust_env=True, timeout=timeout) as session,
                session.get(url, headers=headers, allow_redirects=False) as answer,
            ):
                answer.raise_for_status()
                found = (await answer.json())["watermark"]
            watermark = None if found is None else timestamps.parse(str(found))
        except TimeoutError as error:
            raise RetryError(
                f"the gateway {self._url} does not answer within {ANSWER_SECONDS:g} s", reason=TIMED_OUT
            ) from error
        except _NO_ANSWER as error:
            raise RetryError(f"the gateway {self._url} does not say: {error or type(error).__name__}") from error
        now = self._now()
        return NoReading(now) if watermark is None else Reading(watermark, now)
