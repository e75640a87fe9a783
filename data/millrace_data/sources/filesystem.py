"""File systems of sources: local and S3, opened with explicit credentials, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import Field

from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, RetryError
from millrace_core.base.settings import Settings

CONNECT_SECONDS: Final = 5.0
REQUEST_SECONDS: Final = 30.0
ATTEMPTS: Final = 3

CREDENTIALS_FIELD: Final = "spec.source.credentialsSecretRef"

# What S3 servers, and Arrow on their behalf, call it; in messages such as "AWS Error ACCESS_DENIED during …".
_DENIED: Final = ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "TOKEN", "Forbidden", "status 403")
_MISSING: Final = ("NO_SUCH_BUCKET", "NO_SUCH_KEY", "RESOURCE_NOT_FOUND", "does not exist", "No such file")


class Credentials(Settings):
    """What sources ask for, by the variables that others use for the same.

    Those of S3 that are absent are looked for as AWS's own clients do (web identity, instance metadata).
    """

    access_key_id: str | None = Field(None, alias="AWS_ACCESS_KEY_ID", description="Access key")
    secret_access_key: str | None = Field(None, alias="AWS_SECRET_ACCESS_KEY", description="Its secret")
    session_token: str | None = Field(None, alias="AWS_SESSION_TOKEN", description="Token of temporary credentials")
    endpoint_url: str | None = Field(None, alias="AWS_ENDPOINT_URL", description="Another server than AWS's own")
    region: str = Field("us-east-1", alias="AWS_REGION", description="Region of the bucket")
    pg_user: str | None = Field(None, alias="PGUSER", description="User of PostgreSQL")
    pg_password: str | None = Field(None, alias="PGPASSWORD", description="Its password")
    sql_url: str | None = Field(None, alias="SQL_URL", description="SQLAlchemy's URL of a database, password included")
    iceberg_uri: str | None = Field(
        None, alias="ICEBERG_URI", description="Address of an Iceberg catalog, password included; wins over the spec's"
    )
    iceberg_token: str | None = Field(None, alias="ICEBERG_TOKEN", description="Bearer token of an Iceberg catalog")
    iceberg_credential: str | None = Field(
        None, alias="ICEBERG_CREDENTIAL", description="Client id and secret of an Iceberg catalog, as id:secret"
    )
    iceberg_scope: str | None = Field(
        None, alias="ICEBERG_SCOPE", description="What the client asks for, such as PRINCIPAL_ROLE:ALL; else catalog"
    )
    iceberg_oauth2_uri: str | None = Field(
        None, alias="ICEBERG_OAUTH2_URI", description="Where the client gets its token, unless from the catalog itself"
    )


def open_filesystem(uri: str, credentials: Credentials, field: str = "uri") -> tuple[fs.FileSystem, str]:
    """The file system that a ``file://`` or ``s3://`` URI is on, and the path there. Touches no network.

    Raises:
        RejectError: the URI names a host; ``field`` is where it came from.
    """
    parts = urlsplit(uri)
    path = unquote(parts.path)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise RejectError(
                f"{uri!r} names the host {parts.netloc!r}",
                hint="Write file:/// and the absolute path, with three slashes",
                field=field,
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
def explained(uri: str, field: str = "uri") -> Iterator[None]:
    """Turns errors of reading ``uri``, which came in ``field``, into what is to be done about them.

    Raises:
        NotFoundError: bucket, folder or file is not there.
        RejectError: access is denied, or a file is no Parquet file.
        RetryError: anything else; the network, as a rule.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise _explained(uri, field, error) from error


@contextmanager
def unchanged(uri: str, field: str) -> Iterator[None]:
    """Says of a file that was there when the source was opened, and is not any more, that the next run may do better.

    Raises:
        RetryError: instead of NotFoundError.
    """
    try:
        yield
    except NotFoundError as error:
        raise RetryError(
            f"a file of {uri} was deleted while it was read",
            hint="Run it again; keep files for as long as a run takes",
            field=field,
            reason="SourceChanged",
        ) from error


def denied(error: Exception) -> bool:
    """Whether a file system's error says that access is denied."""
    return isinstance(error, PermissionError) or any(mark in str(error) for mark in _DENIED)


def gone(error: Exception) -> bool:
    """Whether a file system's error says that something is not there."""
    return isinstance(error, FileNotFoundError) or any(mark in str(error) for mark in _MISSING)


def _explained(uri: str, field: str, error: Exception) -> MillraceError:
    text = str(error)
    said = text.splitlines()[0].rstrip(".") if text else type(error).__name__
    if denied(error):
        return RejectError(
            f"access to {uri} is denied: {said}",
            hint="Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL in the Secret, and what they may "
            "read"
            if uri.startswith("s3:")
            else "Let the process read it",
            field=CREDENTIALS_FIELD if uri.startswith("s3:") else field,
            reason="AccessDenied",
        )
    if gone(error):
        return missing(uri, field)
    if isinstance(error, pa.ArrowException):
        return RejectError(
            f"{uri} holds a file that cannot be read as Parquet: {said}",
            hint="Write it again; write under another name first and rename, so that no half file is ever seen",
            field=field,
            reason="CorruptFile",
        )
    return RetryError(f"{uri} could not be read: {said}", field=field, reason="SourceUnavailable")


def missing(uri: str, field: str) -> NotFoundError:
    """The error for a file, folder or bucket that is not there."""
    what = "bucket or path" if uri.startswith("s3:") else "file or folder"
    return NotFoundError(f"there is no {what} {uri}", hint="Check the address", field=field, reason="SourceNotFound")
