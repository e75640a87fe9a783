"""Iceberg's catalogs and files, led through a guarded door.

A catalog may answer with settings of its own: another address for itself, its tokens or the storage, a class that reads
files, a kind of file system. None of them is obeyed unlooked-at: whatever speaks HTTP goes through the passage and
follows no redirect, and files are on S3, by way of the one function that opens it, or within the door's folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import sqlalchemy as sa
from pyarrow import fs
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.typedef import EMPTY_DICT, Properties

from millrace_core.api.source import IcebergSourceSpec as Spec
from millrace_core.base.destinations import Destination
from millrace_core.base.errors import RejectError
from millrace_data.objects.door import PORTS, REASON, Door
from millrace_data.objects.filesystem import ATTEMPTS, ObjectStoreSettings, require_store, s3_filesystem
from millrace_data.sources import database_door
from millrace_data.sources.credentials import Credentials

_CATALOG: Final = "spec.source.iceberg.catalog"
# What a catalog may not have its client do: run classes by name, sign by the machine's identity.
_FOREIGN: Final = ("auth", "py-io-impl", "rest.sigv4-enabled", "ssl")
# What files are opened by, first what a catalog hands out for a table.
_S3: Final[Mapping[str, tuple[str, ...]]] = {
    "AWS_ACCESS_KEY_ID": ("s3.access-key-id", "client.access-key-id"),
    "AWS_SECRET_ACCESS_KEY": ("s3.secret-access-key", "client.secret-access-key"),
    "AWS_SESSION_TOKEN": ("s3.session-token", "client.session-token"),
    "AWS_ENDPOINT_URL": ("s3.endpoint",),
    "AWS_REGION": ("s3.region", "client.region"),
}


def catalog(spec: Spec, properties: Mapping[str, Any], credentials: Credentials) -> Catalog:
    """The catalog, with nothing sent to it yet that the door does not allow.

    Raises:
        RejectError: it may not be connected to. Otherwise as pyiceberg.
    """
    door, uri = credentials.door, str(properties.get("uri", ""))
    known = {name: value for name, value in properties.items() if name != "type"}
    if spec.catalog.type == "rest":
        for each in (uri, str(properties.get("oauth2-server-uri", ""))):
            _require_server(each, door)
        return _rest(door)(spec.catalog.name, **known)
    if spec.catalog.type == "sql":
        return _sql(door)(spec.catalog.name, **{**known, "uri": _database(uri, door)})
    require_store(credentials)
    if credentials.anonymous:
        raise RejectError(
            "Glue was given no credentials, and the machine's own are not taken",
            hint="Put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into the Secret",
            field=_CATALOG,
            reason="AccessDenied",
        )
    return _glue(door)(spec.catalog.name, client=_glue_client(credentials), **known)


def _require_server(url: str, door: Door) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _no_url() from error
    if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc or "\\" in parts.netloc:
        raise _no_url()
    door.addresses(Destination(parts.scheme, parts.hostname, port or PORTS[parts.scheme]), f"{_CATALOG}.uri")


def _no_url() -> RejectError:
    return RejectError(
        "the catalog's address, or that of its tokens, is no address of a server",
        hint="Write http(s)://host[:port]/path without user and password; those are in the Secret",
        field=f"{_CATALOG}.uri",
        reason=REASON,
    )


def _database(uri: str, door: Door) -> str:
    url = database_door.checked(sa.make_url(uri), door, f"{_CATALOG}.uri")
    return url.render_as_string(hide_password=False)


def _rest(door: Door) -> type[Catalog]:
    from pyiceberg.catalog.rest import RestCatalog  # noqa: PLC0415 one of three

    class GuardedRest(RestCatalog):
        def _create_session(self) -> Any:
            self.properties = {name: value for name, value in self.properties.items() if name not in _FOREIGN}
            session = super()._create_session()
            session.trust_env = False
            session.max_redirects = 0
            session.proxies = dict.fromkeys(PORTS, door.passage.url)
            return session

        def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:  # noqa: ARG002
            return GuardedFiles({**self.properties, **properties}, door)

    return GuardedRest


def _sql(door: Door) -> type[Catalog]:
    from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415 one of three

    class GuardedSql(SqlCatalog):
        def _init_catalog(self) -> None:
            database_door.guard(self.engine, door, f"{_CATALOG}.uri")
            super()._init_catalog()

        def _convert_orm_to_iceberg(self, orm_table: Any) -> Table:
            """As the library does, which opens this one file by whatever it is told to."""
            location = str(orm_table.metadata_location or "")
            metadata = FromInputFile.table_metadata(self._load_file_io(location=location).new_input(location))
            return Table(
                identifier=(*self.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name),
                metadata=metadata,
                metadata_location=location,
                io=self._load_file_io(metadata.properties, location),
                catalog=self,
            )

        def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:  # noqa: ARG002
            return GuardedFiles({**self.properties, **properties}, door)

    return GuardedSql


def _glue(door: Door) -> type[Catalog]:
    from pyiceberg.catalog.glue import GlueCatalog  # noqa: PLC0415 one of three

    class GuardedGlue(GlueCatalog):
        def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:  # noqa: ARG002
            return GuardedFiles({**self.properties, **properties}, door)

    return GuardedGlue


def _glue_client(credentials: Credentials) -> Any:
    import boto3  # noqa: PLC0415 one of three
    from botocore.config import Config  # noqa: PLC0415

    proxies = dict.fromkeys(PORTS, credentials.door.passage.url)
    return boto3.client(
        "glue",
        region_name=credentials.region,
        endpoint_url=credentials.endpoint_url,
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        config=Config(retries={"max_attempts": ATTEMPTS, "mode": "standard"}, proxies=proxies),
    )


class GuardedFiles(PyArrowFileIO):
    """Files of a table, whatever its properties ask for."""

    def __init__(self, properties: Mapping[str, Any], door: Door) -> None:
        self._door = door
        super().__init__(dict(properties))

    def _initialize_fs(self, scheme: str, netloc: str | None = None) -> fs.FileSystem:  # noqa: ARG002 the library's
        if scheme in ("s3", "s3a", "s3n"):
            known = {name: self._first(names) for name, names in _S3.items()}
            settings = ObjectStoreSettings.load({name: value for name, value in known.items() if value})
            return s3_filesystem(settings.through(self._door))
        if scheme == "file":
            return fs.LocalFileSystem()  # each file of which is looked at before it is opened
        raise RejectError(
            f"the table has files of the scheme {scheme:.40}, which are not read here",
            hint="Keep its files on S3",
            field="spec.source.iceberg",
            reason=REASON,
        )

    def new_input(self, location: str) -> Any:
        """A file to be read.

        Raises:
            RejectError: it is a local one outside of the door's folders, or of another kind than is read.
        """
        scheme, _, path = self.parse_location(location, self.properties)
        if scheme == "file":
            self._door.file(path, "spec.source.iceberg")
        return super().new_input(location)

    def _first(self, names: tuple[str, ...]) -> str:
        return next((str(self.properties[name]) for name in names if self.properties.get(name)), "")
