"""A connection to one server of the store that all callers share: made on first use, and again after it broke."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable, Sequence

from millrace_core.base.errors import RejectError
from millrace_core.features.online.store_url import FIELD, Host, Login, StoreUrl, Tls
from millrace_data.online.resp import Reply, RespProtocol, ignore_failure, pack
from millrace_data.online.store_errors import CLOSED, REFUSED, TIMEOUT, StoreError, connection_error

Check = Callable[[RespProtocol], Awaitable[None]]


def tls_context(tls: Tls | None) -> ssl.SSLContext | None:
    """What TLS connections are made with; None where there are none.

    Raises:
        RejectError: a file that the store's URL names cannot be used.
    """
    if tls is None:
        return None
    files = {"ssl_ca_certs": tls.ca_certs, "ssl_certfile": tls.certfile, "ssl_keyfile": tls.keyfile}
    for name, path in files.items():
        if path and not os.access(path, os.R_OK):
            raise RejectError(f"{name} is {path!r}, which cannot be read", hint="Name a readable file", field=FIELD)
    try:
        return _tls_context(tls)
    except ssl.SSLError as error:
        named = ", ".join(f"{name} {path!r}" for name, path in files.items() if path)
        hint = "Name PEM files, and the key that belongs to the certificate"
        raise RejectError(f"{named}: no certificate or key: {error}", hint=hint, field=FIELD) from error


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_certs or None)
    context.check_hostname = tls.check_hostname
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
    if tls.certfile:
        context.load_cert_chain(tls.certfile, tls.keyfile or None)
    return context


async def _accept(_: RespProtocol) -> None:
    """Uses every server."""


class SharedConnection:
    """A caller that is cancelled disturbs no other: its reply is dropped, and the connection stays.

    Args:
        host: of the server; None for the socket at ``path``.
        login: user and password, sent first.
        database: its number.
        tls: how to protect the connection.
        timeout: seconds that a reply, or connecting, may take.
        check: raises ``StoreError`` where the server that answers is not to be used.
    """

    def __init__(
        self,
        host: Host | None,
        timeout: float,
        *,
        path: str = "",
        login: Login = Login(),  # noqa: B008 a tuple
        database: int = 0,
        tls: ssl.SSLContext | None = None,
        check: Check = _accept,
    ) -> None:
        self.host = host
        self._path = path
        self._timeout = timeout
        self._tls = tls
        self._check = check
        self._hello: list[bytes] = []
        if login.password:
            user = (login.user.encode(),) if login.user else ()
            self._hello.append(pack(b"AUTH", (*user, login.password.encode())))
        if database:
            self._hello.append(pack(b"SELECT", [b"%d" % database]))
        self._protocol: RespProtocol | None = None
        self._connecting: asyncio.Task[RespProtocol] | None = None
        self._closed = False

    @classmethod
    def to(cls, where: StoreUrl, timeout: float) -> SharedConnection:
        """To the one server of a URL."""
        host = where.hosts[0] if where.hosts else None
        tls = tls_context(where.tls)
        return cls(host, timeout, path=where.path, login=where.login, database=where.database, tls=tls)

    @property
    def connected(self) -> bool:
        """Whether commands go out at once."""
        protocol = self._protocol
        return protocol is not None and not protocol.broken and not protocol.replica

    def execute(self, command: bytes, arguments: Sequence[bytes]) -> asyncio.Future[Reply]:
        """A future of the reply to a command.

        It fails with ``StoreError``: an error reply, a broken connection, or no reply in time.
        """
        return self.send(pack(command, arguments))

    def send(self, *wires: bytes) -> asyncio.Future[Reply]:
        """A future of the reply to the last of some packed commands, which go out together. Fails as ``execute``."""
        protocol = self._protocol
        if protocol is None or protocol.broken or protocol.replica:
            return asyncio.ensure_future(self._send_once_connected(wires))
        return _send_all(protocol, wires)

    def close(self) -> None:
        """Closes the connection for good; callers that still wait get an error."""
        self._closed = True
        if self._protocol is not None:
            self._protocol.fail(StoreError("the connection was closed", CLOSED))

    async def _send_once_connected(self, wires: Sequence[bytes]) -> Reply:
        if self._closed:
            raise StoreError("the connection was closed", CLOSED)
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._on_connected)
        # All callers that come meanwhile wait for this one attempt, and one that is cancelled does not end it.
        return await _send_all(await asyncio.shield(self._connecting), wires)

    def _on_connected(self, attempt: asyncio.Task[RespProtocol]) -> None:
        self._connecting = None
        if attempt.cancelled() or attempt.exception() is not None:
            return
        self._protocol = attempt.result()
        if self._closed:
            self.close()

    async def _connect(self) -> RespProtocol:
        loop = asyncio.get_running_loop()
        protocol = RespProtocol(self._timeout)
        try:
            async with asyncio.timeout(self._timeout):
                if self.host is None:
                    await loop.create_unix_connection(lambda: protocol, self._path)
                else:
                    await loop.create_connection(lambda: protocol, self.host.name, self.host.port, ssl=self._tls)
                for hello in self._hello:
                    await protocol.send(hello)
                await self._check(protocol)
        except BaseException as error:
            protocol.fail(StoreError("the connection could not be set up", CLOSED))
            if isinstance(error, TimeoutError):
                raise StoreError(f"no connection within {self._timeout:g} s", TIMEOUT) from error
            if isinstance(error, OSError | UnicodeError):
                raise connection_error(error, REFUSED) from error
            raise
        return protocol


def _send_all(protocol: RespProtocol, wires: Sequence[bytes]) -> asyncio.Future[Reply]:
    for wire in wires[:-1]:
        protocol.send(wire).add_done_callback(ignore_failure)
    return protocol.send(wires[-1])
