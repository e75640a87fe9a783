"""Objects behind HTTP, by ranges where the server knows them; redirects are followed where the door allows it.

An answer is a part only where it says which one, of how many bytes and of which version of the object: parts of
another place, or of two versions, would make a file that no server ever had. Where it does not say all that, the whole
object is asked for instead.
"""

from __future__ import annotations

import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final, NamedTuple

import httpx
from pydantic import Field

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.settings import HeaderText, Settings
from millrace_data.objects.base import CHUNK, ObjectRange
from millrace_data.objects.door import OPEN, PORTS, REASON, Door
from millrace_data.objects.http_client import HttpClient, origin, trouble
from millrace_data.objects.uri import ObjectUri

_OK: Final = 200
_PARTIAL: Final = 206
_FORBIDDEN: Final = (401, 403)
_MISSING: Final = (404, 410)
_EMPTY_RANGE: Final = 416
# A redirect that says not where to is no better next time.
_REDIRECT: Final = 300
_INTERNAL: Final = 500
# Time-out, too early, too many requests: the same request may be answered later.
PASSING: Final = (408, 425, 429)
_BUSY: Final = (429, 503)
_LATER: Final = "Run it again later"
# Of RFC 9110; no object has a size of 19 digits.
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18})", re.ASCII)
# What objects are stored as, and sent as whatever was asked for.
_ENCODINGS: Final = ("identity", "gzip", "x-gzip", "deflate")
_KNOWN_ENCODINGS: Final = ("br", "zstd", "compress", "x-compress", "dcb", "dcz")
# Of ``zlib``: the largest window, and the head says which of the two it is.
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32


_REDIRECTS: Final = 10


class HttpSettings(Settings):
    """What servers ask for; sent to the server that the URI names, and to none that it redirects to."""

    user: str | None = Field(None, alias="HTTP_USER", description="User of the server")
    password: str | None = Field(None, alias="HTTP_PASSWORD", description="Its password")
    token: HeaderText | None = Field(None, alias="HTTP_TOKEN", description="Bearer token, instead of user and password")

    def headers(self) -> Mapping[str, str]:
        """The header that says it; none where nothing is known."""
        if self.token:
            return {"authorization": f"Bearer {self.token}"}
        if not self.user:
            return {}
        return {"authorization": "Basic " + b64encode(f"{self.user}:{self.password or ''}".encode()).decode()}


class Server(NamedTuple):
    """How one object is asked for.

    Attributes:
        url: where it is.
        authorize: gives the headers that say who asks, by the URL and the other headers; sent to the server of ``url``,
            and to none that it redirects to.
        hint: what to do where access is denied.
        tag: of the object, where its name says all of its bytes; "" is what the server says.
        connecting: what else to check where there is no connection.
    """

    url: str
    authorize: Callable[[httpx.URL, Mapping[str, str]], Mapping[str, str]]
    hint: str = "Check the URI's signature, or HTTP_TOKEN or HTTP_USER and HTTP_PASSWORD in the Secret"
    tag: str = ""
    connecting: str = ""


class HttpReader:
    """One object of a server."""

    def __init__(
        self,
        uri: ObjectUri,
        settings: HttpSettings | None = None,
        door: Door = OPEN,
        *,
        client: HttpClient | None = None,
        server: Server | None = None,
    ) -> None:
        self._uri = uri
        own = (settings or HttpSettings.load({})).headers()
        self._server = server or Server(uri.text, lambda _url, _headers: own)
        self._client = client or HttpClient(door, uri.field)

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the object, or the whole of it."""
        # Compressed ranges would be ranges of something else.
        identity = {"accept-encoding": "identity"}
        try:
            with self._answer({**identity, "range": f"bytes={start}-{stop - 1}"}, start) as response:
                if response.status_code != _PARTIAL:
                    yield _whole(response)
                    return
                if (part := self._part(response, start)) is not None:
                    yield part
                    return
            with self._answer(identity) as response:
                yield _whole(response)
        except httpx.TooManyRedirects as error:
            raise self._reject(f"{self._uri.shown}: {error}", "BadUri") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            raise self._reject(f"{self._uri.shown}: it is, or redirects to, no URL", "BadUri") from error
        except httpx.HTTPError as error:
            wrong = trouble(error)
            raise self._retry(wrong.said, f"{wrong.hint}{self._server.connecting}") from error

    @contextmanager
    def _answer(self, headers: dict[str, str], start: int = 0) -> Iterator[httpx.Response]:
        response = self._followed(headers)
        try:
            self._check(response, start)
            yield response
        finally:
            response.close()

    def _followed(self, headers: dict[str, str]) -> httpx.Response:
        """The answer at the end of all redirects, each of which is checked as the first URL is."""
        url = first = httpx.URL(self._server.url)
        for _ in range(_REDIRECTS + 1):
            own = self._server.authorize(url, headers) if origin(url) == origin(first) else {}
            response = self._client.send(url, {**headers, **own})
            if not response.has_redirect_location:
                return response
            response.close()
            url = self._next(url, url.join(response.headers["location"]))
        raise httpx.TooManyRedirects(f"more than {_REDIRECTS} redirects")

    def _next(self, url: httpx.URL, following: httpx.URL) -> httpx.URL:
        if following.scheme not in PORTS:
            raise self._refused("another scheme than http and https")
        if (url.scheme, following.scheme) == ("https", "http"):
            raise self._refused("http, which nobody encrypts, from https")
        if following.userinfo:
            raise self._refused("a URL with a user or password in it")
        return following

    def _part(self, response: httpx.Response, start: int) -> ObjectRange | None:
        """The part that begins at ``start``; None where the answer does not say what is needed to join parts.

        Raises:
            RetryError: it is another part.
        """
        tag, found = (
            self._server.tag or _tag(response),
            _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "")),
        )
        if found is None or not tag or _encoded(response):
            return None
        if int(found[1]) != start:
            said = f"the server sends bytes from {found[1]} on where those from {start} on were asked for"
            raise self._retry(said, "Run it again; a server or proxy in between does not keep to ranges")
        return ObjectRange(response.iter_raw(), int(found[2]), tag, True)

    def _check(self, response: httpx.Response, start: int) -> None:
        status = response.status_code
        if status in (_OK, _PARTIAL):
            if (encoding := _encoding(response)) not in _ENCODINGS:
                form = encoding if encoding in _KNOWN_ENCODINGS else "nobody knows what"
                said = f"the server sends it compressed as {form}, which it was not asked for"
                raise self._reject(f"{self._uri.shown}: {said}", "BadUri", "Serve the file as it is")
            return
        said = f"the server answers {status} {_phrase(status)}".rstrip()
        if status in _FORBIDDEN:
            raise self._reject(f"{self._uri.shown}: {said}", "AccessDenied", self._server.hint)
        if status in _MISSING:
            raise self._reject(f"{self._uri.shown}: {said}", "ModelNotFound", "Check the URI's path")
        if status == _EMPTY_RANGE and start:
            raise RetryError(f"{self._uri.shown} changed while it was read", field=self._uri.field, reason="Changed")
        if status == _EMPTY_RANGE:
            raise self._reject(f"{self._uri.shown} is empty", "BadModel")
        if _REDIRECT <= status < _INTERNAL and status not in PASSING:
            raise self._reject(f"{self._uri.shown}: {said}", "BadUri", "Check the URI, its query and signature too")
        if status in _BUSY:
            raise self._retry(f"the server asks for fewer requests: it answers {status}", _LATER)
        raise self._retry(said, f"{_LATER}; the server's own log says why")

    def _reject(self, sentence: str, reason: str, hint: str = "") -> RejectError:
        return RejectError(sentence, hint=hint, field=self._uri.field, reason=reason)

    def _refused(self, where: str) -> RejectError:
        return self._reject(
            f"{self._uri.shown}: the server redirects to {where}", REASON, "Name the place where the file is"
        )

    def _retry(self, said: str, hint: str) -> RetryError:
        return RetryError(f"{self._uri.shown}: {said}", hint=hint, field=self._uri.field, reason="Unreachable")


def _whole(response: httpx.Response) -> ObjectRange:
    """The whole object; its size where the answer says that of the bytes themselves."""
    if _encoded(response):
        return ObjectRange(_unzipped(response), None, _tag(response), False)
    length = response.headers.get("content-length", "")
    size = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    return ObjectRange(response.iter_raw(CHUNK), size, _tag(response), False)


def _unzipped(response: httpx.Response) -> Iterator[bytes]:
    """The bytes of a body that is compressed, a chunk at a time, however much a few of its bytes become."""
    unzip = zlib.decompressobj(_GZIP_OR_ZLIB)
    for piece in response.iter_raw(CHUNK):
        rest = piece
        full = True
        while (rest or full) and not unzip.eof:
            try:
                chunk = unzip.decompress(rest, CHUNK)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
            yield chunk
            rest, full = unzip.unconsumed_tail, len(chunk) == CHUNK
    if not unzip.eof:
        raise httpx.RemoteProtocolError("the compressed body breaks off")


def _tag(response: httpx.Response) -> str:
    return str(response.headers.get("etag") or response.headers.get("last-modified", ""))


def _encoded(response: httpx.Response) -> bool:
    """Whether the body is compressed, although it was asked not to be: then sizes and ranges are not the object's."""
    return _encoding(response) != "identity"


def _encoding(response: httpx.Response) -> str:
    return str(response.headers.get("content-encoding", "identity")).lower()


def _phrase(status: int) -> str:
    """Ours: the server's own may say anything."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
