"""The one door to object stores: Arrow's file systems, which tables are read through in bulk and models by ranges.

Another store (Google's, Azure's) is one more branch of ``open_filesystem``, and its words in ``faults``.
"""

from __future__ import annotations

import re
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

from pyarrow import fs
from pydantic import AliasChoices, ConfigDict, Field, PrivateAttr

from millrace_core.base.destinations import Destination
from millrace_core.base.errors import RejectError
from millrace_core.base.settings import HeaderText, Settings
from millrace_core.base.timeouts import CONNECT_SECONDS, IDLE_SECONDS
from millrace_data.objects.door import OPEN, PORTS, Door
from millrace_data.objects.uri import s3_problem

ATTEMPTS: Final = 3


class ObjectStoreSettings(Settings):
    """How S3, or what speaks its protocol, is reached.

    Keys that are absent are looked for as AWS's own clients do; where the door is guarded, in the identity of the pod's
    service account alone, and requests are anonymous where it has none.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    _door: Door = PrivateAttr(OPEN)

    access_key_id: HeaderText | None = Field(None, alias="AWS_ACCESS_KEY_ID", description="Access key")
    secret_access_key: str | None = Field(None, alias="AWS_SECRET_ACCESS_KEY", description="Its secret")
    session_token: HeaderText | None = Field(
        None, alias="AWS_SESSION_TOKEN", description="Token of temporary credentials"
    )
    endpoint_url: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="Another server than AWS's own; where both are set, the first of the two names counts",
    )
    region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        pattern="^[a-z0-9-]{1,40}$",
        description="Region of the bucket; where both are set, the first of the two names counts",
    )
    role: str | None = Field(
        None,
        validation_alias=AliasChoices("AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        description="What EKS tells pods whose service account has a role of AWS",
    )

    @property
    def door(self) -> Door:
        """Where connections may go; everywhere, unless ``through`` said otherwise."""
        return self._door

    def through(self, door: Door) -> Self:
        """The same settings, for what may go through a door alone."""
        settings = self.model_copy()
        settings._door = door
        return settings

    @property
    def anonymous(self) -> bool:
        """Whether nobody is named, and the machine's own identity is not to be taken for it."""
        return self.door.guarded and not self.access_key_id and not self.role


def open_filesystem(uri: str, settings: ObjectStoreSettings, field: str = "uri") -> tuple[fs.FileSystem, str]:
    """The file system that a ``file://`` or ``s3://`` URI is on, and the path there. Touches no network.

    A URI means what it means for a model (``uri.parse``): keys of S3 stand in it as they are, paths of files are
    percent-decoded, and ``?`` and ``#`` are parts of names.

    Raises:
        RejectError: the URI names a host, or no bucket or path that there can be, or what may not be read; ``field`` is
        where it came from.
    """
    scheme, _, rest = uri.partition("://")
    host, slash, path = rest.partition("/")
    if scheme == "file":
        if host not in ("", "localhost"):
            raise RejectError(
                f"{uri!r} names the host {host!r}",
                hint="Write file:/// and the absolute path, with three slashes",
                field=field,
            )
        return fs.LocalFileSystem(), settings.door.file("/" + unquote(path).strip("/"), field)
    if problem := s3_problem(host, slash + path):
        raise RejectError(
            f"s3://{host.rpartition('@')[2]}{slash}{path} {problem}",
            hint="Write s3://bucket/path; keys are in the environment, on a cluster in the Secret",
            field=field,
            reason="BadUri",
        )
    return s3_filesystem(settings), f"{host}{slash}{path}".rstrip("/")


def s3_filesystem(settings: ObjectStoreSettings, request_seconds: float = IDLE_SECONDS) -> fs.FileSystem:
    """S3. Paths begin with the bucket. Touches no network, but looks the server up where the door is guarded.

    Raises:
        RejectError: the endpoint is no address of a server, or none that may be connected to, or a part of the
        credentials is missing. RetryError: the server has no address.
    """
    require_both_keys(settings)
    scheme, server = endpoint(settings.endpoint_url)
    require_store(settings)
    return fs.S3FileSystem(
        access_key=settings.access_key_id,
        secret_key=settings.secret_access_key,
        session_token=settings.session_token,
        region=settings.region,
        endpoint_override=server,
        scheme=scheme,
        connect_timeout=CONNECT_SECONDS,
        request_timeout=request_seconds,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        **({"anonymous": True} if settings.anonymous else {}),
        **_proxy(settings.door),
    )


def require_store(settings: ObjectStoreSettings) -> None:
    """Looks whether the server of S3 may be connected to. Later requests are looked at by the door's passage.

    Raises:
        RejectError: it may not. RetryError: it has no address.
    """
    if not settings.door.guarded:
        return
    scheme, server = endpoint(settings.endpoint_url)
    parts = urlsplit(f"//{server or f's3.{settings.region}.amazonaws.com'}")
    destination = Destination(scheme, parts.hostname or "", parts.port or PORTS[scheme])
    settings.door.addresses(destination, "AWS_ENDPOINT_URL")


def _proxy(door: Door) -> dict[str, Any]:
    if not door.guarded:
        return {}
    passage = door.passage
    options = {"scheme": "http", "host": passage.host, "port": passage.port}
    return {"proxy_options": {**options, "username": passage.user, "password": passage.password}}


def endpoint(url: str | None) -> tuple[str, str | None]:
    """Scheme and server of ``AWS_ENDPOINT_URL``, for every client that is told it.

    Raises:
        RejectError: it is not understood; without it AWS would get the requests.
    """
    if url is None:
        return "https", None
    scheme, _, rest = url.partition("://")
    server = rest.rstrip("/")
    if scheme not in ("http", "https") or not re.fullmatch(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?", server):
        raise RejectError(
            f"{'…@' if '@' in url else ''}{url.rpartition('@')[2]!r} is no endpoint of S3",
            hint="Write it as https://host or http://host:9000, without user and path",
            field="AWS_ENDPOINT_URL",
            reason="BadEndpoint",
        )
    return scheme, server


def require_both_keys(settings: ObjectStoreSettings) -> None:
    """Looks whether a key has its secret.

    Raises:
        RejectError: a part of the credentials is missing.
    """
    keys = {"AWS_ACCESS_KEY_ID": settings.access_key_id, "AWS_SECRET_ACCESS_KEY": settings.secret_access_key}
    missing = [name for name, value in keys.items() if not value]
    if missing and (len(missing) < len(keys) or settings.session_token):
        raise RejectError(
            f"credentials of S3 came without {' and '.join(missing)}",
            hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN for temporary ones; or none",
            field=missing[0],
            reason="AccessDenied",
        )
