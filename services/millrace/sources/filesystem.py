"""File systems of sources: local and S3, opened with explicit credentials, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import Field

from millrace.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace.base.settings import Settings

CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0
ATTEMPTS: Final = 3

URI_FIELD: Final = "spec.source.parquet.uri"
CREDENTIALS_FIELD: Final = "spec.source.credentialsSecretRef"

# What S3 servers, and Arrow on their behalf, call it; in messages such as "AWS Error ACCESS_DENIED during …".
_DENIED: Final = ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "TOKEN", "Forbidden", "status 403")
_MISSING: Final = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "does not exist", "No such file")


class Credentials(Settings):
    """How to reach S3, from the variables that every S3 client knows. Absent ones are looked for as AWS's own
    clients do (web identity, instance metadata)."""

    access_key_id: str | None = Field(None, alias="AWS_ACCESS_KEY_ID", description="Access key")
    secret_access_key: str | None = Field(None, alias="AWS_SECRET_ACCESS_KEY", description="Its secret")
    session_token: str | None = Field(None, alias="AWS_SESSION_TOKEN", description="Token of temporary credentials")
    endpoint_url: str | None = Field(None, alias="AWS_ENDPOINT_URL", description="Another server than AWS's own")
    region: str = Field("us-east-1", alias="AWS_REGION", description="Region of the bucket")


def open_filesystem(uri: str, credentials: Credentials) -> tuple[fs.FileSystem, str]:
    """The file system that a ``file://`` or ``s3://`` URI is on, and the path there. Touches no network."""
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise RejectError(
                f"{uri!r} names the host {parts.netloc!r}",
                hint="Write file:/// and the absolute path, with three slashes",
                field=URI_FIELD,
            )
        return fs.LocalFileSystem(), path.rstrip("/") or "/"
    endpoint = urlsplit(credentials.endpoint_url or "")
    system = fs.S3FileSystem(
        access_key=credentials.access_key_id,
        secret_key=credentials.secret_access_key,
        session_token=credentials.session_token,
        region=credentials.region,
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
    )
    return system, (parts.netloc + path).rstrip("/")


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turns errors of reading ``uri`` into what is to be done about them.

    Raises:
        NotFoundError: bucket, folder or file is not there.
        RejectError: access is denied, or a file is no Parquet file.
        RetryError: anything else; the network, as a rule.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, error) from error


def _explained(uri: str, error: Exception) -> MillraceError:
    text = str(error)
    said = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    if isinstance(error, PermissionError) or any(mark in text for mark in _DENIED):
        return RejectError(
            f"access to {uri} is denied: {said}",
            hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL in the Secret, and what they may "
            "read"
            if uri.startswith("s3:")
            else "Let the process read it",
            field=CREDENTIALS_FIELD if uri.startswith("s3:") else URI_FIELD,
            reason="AccessDenied",
        )
    if isinstance(error, FileNotFoundError) or any(mark in text for mark in _MISSING):
        return missing(uri)
    if isinstance(error, pa.ArrowException):
        return RejectError(
            f"{uri} holds a file that cannot be read as Parquet: {said}",
            hint="Write it again; write under another name first and rename, so that no half file is ever seen",
            field=URI_FIELD,
            reason="CorruptFile",
        )
    return RetryError(f"{uri} could not be read: {said}", field=URI_FIELD, reason="SourceUnavailable")


def missing(uri: str) -> NotFoundError:
    """The error for a file, folder or bucket that is not there."""
    what = "bucket or path" if uri.startswith("s3:") else "file or folder"
    return NotFoundError(
        f"there is no {what} {uri}", hint="Check the address", field=URI_FIELD, reason="SourceNotFound"
    )
