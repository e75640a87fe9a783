"""Where models come from: files, S3 and HTTP, all read by byte ranges where the source can.

Every failure names the URI (without its secrets) and says whether a retry may help: ``RejectError`` for what is
missing or forbidden, ``RetryError`` for what is unreachable or broke off.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from millrace_core.base.errors import RejectError, RetryError
from millrace_services.inference.uri import ModelUri

if TYPE_CHECKING:
    import httpx

CHUNK: Final = 1024 * 1024
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 30.0

_FIELD: Final = "spec.model.uri"
_FORBIDDEN: Final = (401, 403)
_MISSING: Final = (404, 410)
_EMPTY_RANGE: Final = 416
_PARTIAL: Final = 206
_OK: Final = 200


class Piece(NamedTuple):
    """What a read gives: the bytes from ``start`` on.

    ``size`` is the whole file's, None where the source does not say; ``tag`` changes when the file does; ``ranged``
    is False where the source sends the whole file whatever was asked.
    """

    chunks: Iterator[bytes]
    size: int | None
    tag: str
    ranged: bool


class Source(Protocol):
    """A readable model file. ``open`` is a context manager and may run in several threads at once."""

    def open(self, start: int, stop: int) -> Any:
        """A context manager that gives the ``Piece`` of the bytes from ``start`` up to, not including, ``stop``."""


def source_of(uri: ModelUri) -> Source:
    """The source that serves a URI."""
    if uri.scheme == "file":
        return FileSource(uri)
    if uri.scheme == "s3":
        return S3Source(uri)
    return HttpSource(uri)


class FileSource:
    """A regular file of this machine."""

    def __init__(self, uri: ModelUri) -> None:
        self._uri = uri

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Piece]:
        """Reads a range of the file."""
        try:
            file = self._uri.file.open("rb")
        except OSError as error:
            reason = "AccessDenied" if isinstance(error, PermissionError) else "ModelNotFound"
            raise _reject(f"cannot read {self._uri.shown}: {error.strerror}", reason) from error
        with file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _reject(f"{self._uri.shown} is no regular file", "ModelNotFound")
            file.seek(start)
            yield Piece(_bounded(file, stop - start), status.st_size, f"{status.st_mtime_ns}", True)


class HttpSource:
    """A file behind HTTP, by ranges where the server knows them; redirects are followed."""

    def __init__(self, uri: ModelUri) -> None:
        import httpx  # noqa: PLC0415 as boto3 below: half a second that other sources need not pay

        self._uri = uri
        timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
        self._client = httpx.Client(timeout=timeout, follow_redirects=True)

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Piece]:
        """Reads a range of the file, or the whole of it."""
        import httpx  # noqa: PLC0415

        # Compressed ranges would be ranges of something else.
        headers = {"range": f"bytes={start}-{stop - 1}", "accept-encoding": "identity"}
        try:
            with self._client.stream("GET", self._uri.text, headers=headers) as response:
                self._check(response)
                ranged = response.status_code == _PARTIAL
                tag = response.headers.get("etag") or response.headers.get("last-modified", "")
                yield Piece(response.iter_bytes(CHUNK), _size(response), tag, ranged)
        except httpx.ConnectTimeout as error:
            raise _retry(f"{self._uri.shown}: no connection within {CONNECT_SECONDS:g} s") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise _reject(f"{self._uri.shown}: {error}", "BadUri") from error
        except httpx.HTTPError as error:
            raise _retry(f"{self._uri.shown}: {_sentence(error)}") from error

    def _check(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in (_OK, _PARTIAL):
            return
        said = f"{self._uri.shown}: the server answers {status} {response.reason_phrase}"
        if status in _FORBIDDEN:
            raise _reject(said, "AccessDenied", "Check the URI's credentials or signature")
        if status in _MISSING:
            raise _reject(said, "ModelNotFound", "Check the URI's path")
        if status == _EMPTY_RANGE:
            raise _reject(f"{self._uri.shown} is empty", "BadModel")
        raise _retry(said)


class S3Source:
    """An object in S3 or anything that speaks its protocol; endpoint and credentials from the usual AWS_* variables."""

    def __init__(self, uri: ModelUri) -> None:
        import boto3  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        self._uri = uri
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 2},
            max_pool_connections=16,
        )
        self._client = boto3.Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=config)

    @contextmanager
    def open(self, start: int, stop: int) -> Iterator[Piece]:
        """Reads a range of the object."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

        try:
            answer = self._client.get_object(
                Bucket=self._uri.host, Key=self._uri.key, Range=f"bytes={start}-{stop - 1}"
            )
            with closing(answer["Body"]) as body:
                size = int(answer["ContentRange"].rpartition("/")[2])
                yield Piece(body.iter_chunks(CHUNK), size, answer["ETag"], True)
        except ClientError as error:
            self._explain(error.response["Error"].get("Code", ""), str(error), error)
        except BotoCoreError as error:
            self._explain(type(error).__name__, str(error), error)

    def _explain(self, code: str, said: str, cause: Exception) -> NoReturn:
        shown = self._uri.shown
        known: dict[str, tuple[str, str, str]] = {
            "NoSuchBucket": (f"there is no bucket {self._uri.host}", "BucketNotFound", "Check spec.model.uri"),
            "NoSuchKey": (f"there is no object {self._uri.key}", "ModelNotFound", "Check spec.model.uri"),
            "404": (f"there is no object {self._uri.key}", "ModelNotFound", "Check spec.model.uri"),
            "InvalidRange": ("the object is empty", "BadModel", ""),
            "NoCredentialsError": (
                "no credentials",
                "AccessDenied",
                "Name a Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in spec.model.credentialsSecretRef",
            ),
        }
        if code in known:
            sentence, reason, hint = known[code]
            raise _reject(f"{shown}: {sentence}", reason, hint) from cause
        if code in _DENIED:
            hint = "Check the Secret of spec.model.credentialsSecretRef and what its key may read"
            raise _reject(f"{shown}: access denied ({code})", "AccessDenied", hint) from cause
        raise _retry(f"{shown}: {said}") from cause


_DENIED: Final = {
    "403",
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "PartialCredentialsError",
    "SignatureDoesNotMatch",
}


def _bounded(file: Any, left: int) -> Iterator[bytes]:
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _size(response: httpx.Response) -> int | None:
    if response.status_code == _PARTIAL:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isdigit() else None


def _sentence(error: httpx.HTTPError) -> str:
    kinds = {
        "ReadTimeout": f"no data for {READ_SECONDS:g} s",
        "ConnectError": f"cannot connect: {error}",
        "RemoteProtocolError": f"the download broke off: {error}",
    }
    name = type(error).__name__
    return kinds.get(name, str(error) or name)


def _reject(sentence: str, reason: str, hint: str = "") -> RejectError:
    return RejectError(sentence, hint=hint, field=_FIELD, reason=reason)


def _retry(sentence: str) -> RetryError:
    return RetryError(sentence, field=_FIELD, reason="Unreachable")
