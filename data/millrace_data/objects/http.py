"""Objects behind HTTP, by ranges where the server knows them; redirects are followed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import httpx

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.timeouts import CONNECT_SECONDS, IDLE_SECONDS
from millrace_data.objects.base import CHUNK, ObjectRange
from millrace_data.objects.uri import ObjectUri

_OK: Final = 200
_PARTIAL: Final = 206
_FORBIDDEN: Final = (401, 403)
_MISSING: Final = (404, 410)
_EMPTY_RANGE: Final = 416


class HttpReader:
    """One object of a server."""

    def __init__(self, uri: ObjectUri) -> None:
        self._uri = uri
        timeout = httpx.Timeout(IDLE_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(timeout=timeout, follow_redirects=True)

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the object, or the whole of it."""
        # Compressed ranges would be ranges of something else.
        headers = {"range": f"bytes={start}-{stop - 1}", "accept-encoding": "identity"}
        try:
            with self._client.stream("GET", self._uri.text, headers=headers) as response:
                self._check(response)
                ranged = response.status_code == _PARTIAL
                tag = response.headers.get("etag") or response.headers.get("last-modified", "")
                yield ObjectRange(response.iter_bytes(CHUNK), _size(response), tag, ranged)
        except httpx.ConnectTimeout as error:
            raise self._retry(f"no connection within {CONNECT_SECONDS:g} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise self._reject(f"{self._uri.shown}: {error}", "BadUri") from error
        except httpx.HTTPError as error:
            raise self._retry(_sentence(error)) from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (_OK, _PARTIAL):
            return
        said = f"the server answers {status} {response.reason_phrase}"
        if status in _FORBIDDEN:
            hint = "Check the URI's credentials or signature"
            raise self._reject(f"{self._uri.shown}: {said}", "AccessDenied", hint)
        if status in _MISSING:
            raise self._reject(f"{self._uri.shown}: {said}", "ModelNotFound", "Check the URI's path")
        if status == _EMPTY_RANGE:
            raise self._reject(f"{self._uri.shown} is empty", "BadModel")
        raise self._retry(said)

    def _reject(self, sentence: str, reason: str, hint: str = "") -> RejectError:
        return RejectError(sentence, hint=hint, field=self._uri.field, reason=reason)

    def _retry(self, said: str) -> RetryError:
        return RetryError(f"{self._uri.shown}: {said}", field=self._uri.field, reason="Unreachable")


def _size(response: httpx.Response) -> int | None:
    if response.status_code == _PARTIAL:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isdigit() else None


def _sentence(error: httpx.HTTPError) -> str:
    kinds = {
        "ReadTimeout": f"no data for {IDLE_SECONDS:g} s",
        "ConnectError": f"cannot connect: {error}",
        "RemoteProtocolError": f"the download broke off: {error}",
    }
    name = type(error).__name__
    return kinds.get(name, str(error) or name)
