"""Objects of S3, or of what speaks its protocol."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx

from millrace_core.base.errors import RejectError, RetryError
from millrace_data.objects import faults, filesystem
from millrace_data.objects.base import ObjectRange, ObjectReader
from millrace_data.objects.door import OPEN, REASON, Door
from millrace_data.objects.http import HttpReader, Server
from millrace_data.objects.http_client import HttpClient
from millrace_data.objects.uri import ObjectUri

# A chunk is a request of its own, and several are held at once: larger ones are no faster and take more memory.
_CHUNK: Final = 2 * 1024 * 1024
_NO_BODY: Final = hashlib.sha256().hexdigest()


def reader(
    uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN, now: Callable[[], float] = time.time
) -> ObjectReader:
    """The reader of ``s3://bucket/key``: the house's own HTTP where keys are stated, one request a range; else Arrow's
    client, which finds other identities and sends ten."""
    settings = filesystem.ObjectStoreSettings.load(environ).through(door)
    filesystem.require_both_keys(settings)
    # In China AWS's names end in another way, which the client knows.
    if not settings.access_key_id or (settings.endpoint_url is None and settings.region.startswith("cn-")):
        return S3Reader(uri, environ, door)
    return SignedReader(uri, environ, door, settings, now)


class SignedReader:
    """An object of S3 by signed requests (Signature Version 4).

    What the store refuses is asked for again by Arrow's client, which follows to other regions, and whose errors
    ``faults`` explains. Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html.
    """

    def __init__(
        self,
        uri: ObjectUri,
        environ: Mapping[str, str],
        door: Door,
        settings: filesystem.ObjectStoreSettings,
        now: Callable[[], float],
    ) -> None:
        filesystem.require_store(settings)
        scheme, server = filesystem.endpoint(settings.endpoint_url)
        url = f"{scheme}://{server or f's3.{settings.region}.amazonaws.com'}/{uri.host}/{quote(uri.key, safe='/-._~')}"
        sign = Server(
            url,
            lambda target, _: signed(target, settings, now()),
            connecting="; also AWS_ENDPOINT_URL where it is set",
        )
        self._signed = HttpReader(uri, client=HttpClient(door, uri.field), server=sign)
        self._arrow: S3Reader | None = None
        self._make: Callable[[], S3Reader] = lambda: S3Reader(uri, environ, door)

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the object."""
        with ExitStack() as stack:
            try:
                chosen: ObjectReader = self._arrow or self._signed
                piece = stack.enter_context(chosen.open(start, stop))
            except RejectError as error:
                if self._arrow is not None or error.reason == REASON:
                    raise
                self._arrow = self._make()
                piece = stack.enter_context(self._arrow.open(start, stop))
            yield piece


def signed(url: httpx.URL, settings: filesystem.ObjectStoreSettings, now: float) -> dict[str, str]:
    """The headers that sign a GET of ``url`` without a query."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    scope = f"{moment[:8]}/{settings.region}/s3/aws4_request"
    own = {"x-amz-content-sha256": _NO_BODY, "x-amz-date": moment}
    if settings.session_token:
        own["x-amz-security-token"] = settings.session_token
    named = {"host": url.netloc.decode("ascii"), **own}
    names = ";".join(named)
    headers = [f"{name}:{value}" for name, value in named.items()]
    request = "\n".join(["GET", url.raw_path.decode("ascii"), "", *headers, "", names, _NO_BODY])
    text = "\n".join(["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{settings.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{settings.access_key_id}/{scope}"
    said = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    return {**own, "authorization": said}


class S3Reader:
    """An object of S3 or anything that speaks its protocol, by Arrow's client."""

    def __init__(self, uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN) -> None:
        self._uri = uri
        self._path = f"{uri.host}/{uri.key}"
        self._system = filesystem.s3_filesystem(filesystem.ObjectStoreSettings.load(environ).through(door))
        ask = faults.listing(self._system, self._path)
        self._explained: Callable[[], AbstractContextManager[None]] = lambda: faults.explained(
            uri.shown, uri.field, purpose=faults.MODELS, ask=ask
        )

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[ObjectRange]:
        """Reads a range of the object, and looks afterwards whether it is still the same."""
        with self._explained():
            file, tag = self._opened()
            size = int(file.size())
        yield ObjectRange(self._chunks(file, start, min(stop, size)), size, tag, True)
        with self._explained():
            _, tag_now = self._opened()
        if tag_now != tag:
            raise RetryError(f"{self._uri.shown} changed while it was read", field=self._uri.field, reason="Changed")

    def _opened(self) -> tuple[Any, str]:
        file = self._system.open_input_file(self._path)
        return file, file.metadata().get("ETag", b"").decode()

    def _chunks(self, file: Any, start: int, stop: int) -> Iterator[bytes]:
        for position in range(start, stop, _CHUNK):
            with self._explained():
                chunk = file.read_at(min(_CHUNK, stop - position), position)
            yield chunk
