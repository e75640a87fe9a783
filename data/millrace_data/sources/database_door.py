"""Which databases a source may connect to, and how each driver is told the address that was checked.

libpq takes an address beside the name (``hostaddr``), PyMySQL a connection that stands already, so neither asks for a
name again. SQLite's files are opened to be read alone. Where the door is guarded other drivers are refused, and so is
every option of a driver that could name another place (``host``, ``service``, ``unix_socket``), another file or code.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import event

from millrace_core.base.destinations import Destination
from millrace_core.base.errors import RejectError
from millrace_data.objects.door import REASON, Door

_PORTS: Final = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
_SCHEMES: Final = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
# Per driver what its URL may say after the question mark: nothing that names a place, a file or code.
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "psycopg": frozenset(
        {"sslmode", "connect_timeout", "application_name", "channel_binding", "client_encoding", "keepalives"}
    ),
    "pymysql": frozenset({"charset", "connect_timeout", "read_timeout", "ssl_check_hostname", "ssl_verify_cert"}),
    "pysqlite": frozenset(),
}
_KNOWN: Final = "postgresql+psycopg://, mysql+pymysql://, mariadb+pymysql:// and sqlite://"


def opened(url: sa.URL, door: Door, field: str, **options: Any) -> sa.Engine:
    """An engine whose connections go where the door lets them.

    Args:
        field: of the object, where the URL came from.
        options: of ``sqlalchemy.create_engine``.

    Raises:
        RejectError: the URL names what may not be connected to, opened or said.
    """
    engine = sa.create_engine(checked(url, door, field), poolclass=sa.NullPool, **options)
    guard(engine, door, field)
    return engine


def checked(url: sa.URL, door: Door, field: str) -> sa.URL:
    """The URL as it may be opened: a file of SQLite within the door's folders, and to be read alone.

    Raises:
        RejectError: as ``opened``.
    """
    backend = url.drivername.partition("+")[0]
    if door.guarded:
        _require_known(url, backend, field)
    return _to_be_read(url, door, field) if backend == "sqlite" else url


def guard(engine: sa.Engine, door: Door, field: str) -> None:
    """Has every connection of an engine checked, and made to the address that was."""
    if not door.guarded:
        return

    @event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, _: Any, __: Any, options: dict[str, Any]) -> Any:
        if dialect.name in _SCHEMES:
            port = int(options.get("port") or _PORTS[dialect.name])
            destination = Destination(_SCHEMES[dialect.name], str(options.get("host") or ""), port)
            return _CONNECT[dialect.name](dialect, door, destination, field, options)
        return None


def _postgresql(_: sa.Dialect, door: Door, destination: Destination, field: str, options: dict[str, Any]) -> None:
    addresses = door.addresses(destination, field)
    # One name for each address: certificates are checked against it.
    options["host"] = ",".join([destination.host] * len(addresses))
    options["hostaddr"] = ",".join(addresses)


def _mysql(dialect: Any, door: Door, destination: Destination, field: str, options: dict[str, Any]) -> Any:
    connection = dialect.loaded_dbapi.connect(**{**options, "defer_connect": True})
    try:
        made = door.connect(destination, field)
    except OSError as error:
        said = f"Can't connect to MySQL server on {destination.host!r} ({error})"
        raise dialect.loaded_dbapi.OperationalError(2003, said) from error
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.connect(made)
    return connection


_CONNECT: Final[Mapping[str, Callable[[Any, Door, Destination, str, dict[str, Any]], Any]]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
}


def _require_known(url: sa.URL, backend: str, field: str) -> None:
    allowed = _OPTIONS.get(url.get_driver_name()) if backend in (*_SCHEMES, "sqlite") else None
    if allowed is None:
        raise RejectError(
            f"databases of the kind {url.drivername:.60} are not connected to here: nothing can say where they go",
            hint=f"Use {_KNOWN}",
            field=field,
            reason=REASON,
        )
    if foreign := sorted(set(url.query) - allowed):
        raise RejectError(
            f"the URL has the option {foreign[0]:.60}, which is not taken here",
            hint=f"Leave it out; taken are {', '.join(sorted(allowed)) or 'none'}",
            field=field,
            reason=REASON,
        )
    if backend != "sqlite" and not url.host:
        raise RejectError("the URL has no host", hint="Name the server", field=field, reason=REASON)


def _to_be_read(url: sa.URL, door: Door, field: str) -> sa.URL:
    path = url.database or ""
    if path in ("", ":memory:") or path.startswith("file:"):
        if door.guarded:
            raise RejectError(
                "SQLite is opened by the path of a file alone",
                hint="Write sqlite:////absolute/path/file.db",
                field=field,
                reason=REASON,
            )
        # A name of its own user, such as file:…?vfs=…; it is read alone all the same.
        return url.update_query_dict({"mode": "ro"}) if path.startswith("file:") and "uri" in url.query else url
    query = {**url.query, "mode": "ro", "uri": "true"}
    return url.set(database=f"file:{quote(door.file(path, field))}", query=query)
