"""One GET of a service, with a deadline and a bound on what is read of its answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

import aiohttp

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.shown import shown
from millrace_core.base.timeouts import ANSWER_SECONDS
from millrace_operators.facts.fact import TIMED_OUT

_MOST_BYTES: Final = 1 << 20
_WIDTH: Final = 500
_NO_ANSWER: Final = (aiohttp.ClientError, OSError)


async def answer_of(
    url: str, query: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Status and body. With headers, which may hold a token, no redirect is followed.

    Raises:
        RetryError: there is no answer.
        RejectError: it has more than a MiB.
    """
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(trust_env=True, timeout=timeout) as session,
            session.get(url, params=query, headers=headers, allow_redirects=headers is None) as answer,
        ):
            return answer.status, await _body(answer.content)
    except TimeoutError as error:
        raise RetryError(f"no answer within {ANSWER_SECONDS:g} s", reason=TIMED_OUT) from error
    except _NO_ANSWER as error:
        raise RetryError(f"no answer: {error or type(error).__name__}") from error


async def _body(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RejectError("the answer has more than a MiB")
    return bytes(body)


def said_of(body: bytes) -> str:
    """What one of our services says of a failure, with what can be done."""
    try:
        return str(json.loads(body)["error"])[:_WIDTH]
    except (ValueError, KeyError, TypeError, RecursionError):
        return shown(body[:_WIDTH])
