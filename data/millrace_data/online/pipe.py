"""A connection to one server of the store, made on first use and again after it broke."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

from millrace_core.features.online.store_url import Host, Login, StoreUrl, Tls
from millrace_data.online.wire import Reply, StoreError, Wire, heard, packed

Check = Callable[[Wire], Awaitable[None]]


def security(tls: Tls | None) -> ssl.SSLContext | None:
    """What TLS connections are made with; None where there are none."""
    if tls is None:
        return None
    context = ssl.create_default_context(cafile=tls.ca_certs or None)
    context.check_hostname = tls.check_hostname
    if not tls.verify:
        context.verify_mode = ssl.CERT_NONE
    if tls.certfile:
        context.load_cert_chain(tls.certfile, tls.keyfile or None)
    return context


async def _unchecked(_: Wire) -> None:
    """Takes every server."""


class Pipe:
    """Many share it.

    Args:
        host: of the server; None for the socket at ``path``.
        login: who enters.
        database: its number.
        tls: of the connection.
        timeout: seconds that an answer, or a connection, may take.
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
        check: Check = _unchecked,
    ) -> None:
        self._host = host
        self._path = path
        self._timeout = timeout
        self._tls = tls
        self._check = check
        self._hello: list[bytes] = []
        if login.password:
            user = (login.user.encode(),) if login.user else ()
            self._hello.append(packed(b"AUTH", (*user, login.password.encode())))
        if database:
            self._hello.append(packed(b"SELECT", [b"%d" % database]))
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[Wire] | None = None

    @classmethod
    def to(cls, where: StoreUrl, timeout: float) -> Pipe:
        """To the one server of a URL."""
        host = where.hosts[0] if where.hosts else None
        tls = security(where.tls)
        return cls(host, timeout, path=where.path, login=where.login, database=where.database, tls=tls)

    @property
    def connected(self) -> bool:
        """Whether questions go out at once."""
        return self._wire is not None and not self._wire.broken

    def ask(self, command: bytes, arguments: Sequence[bytes]) -> asyncio.Future[Reply]:
        """A future of the answer to a command.

        It fails with ``StoreError``: the store's error, a broken connection, or no answer in time.
        """
        return self.send(packed(command, arguments))

    def send(self, *wires: bytes) -> asyncio.Future[Reply]:
        """A future of the answer to the last of some packed commands, which go out together. Fails as ``ask`` does."""
        wire = self._wire
        if wire is None or wire.broken:
            return asyncio.ensure_future(self._send_once_connected(wires))
        return _all_sent(wire, wires)

    def close(self) -> None:
        """Closes the connection; what still waits for an answer fails."""
        if self._wire is not None:
            self._wire.fail("the connection was closed")

    async def _send_once_connected(self, wires: Sequence[bytes]) -> Reply:
        return await _all_sent(await self._connected(), wires)

    async def _connected(self) -> Wire:
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
        try:
            # All that come meanwhile wait for the same attempt, and one that goes away does not end it.
            self._wire = await asyncio.shield(self._connecting)
        finally:
            if self._connecting is not None and self._connecting.done():
                self._connecting = None
        return self._wire

    async def _connect(self) -> Wire:
        loop = asyncio.get_running_loop()
        wire = None
        try:
            async with asyncio.timeout(self._timeout):
                if self._host is None:
                    _, wire = await loop.create_unix_connection(lambda: Wire(self._timeout), self._path)
                else:
                    _, wire = await loop.create_connection(
                        lambda: Wire(self._timeout), self._host.name, self._host.port, ssl=self._tls
                    )
                for hello in self._hello:
                    await wire.send(hello)
                await self._check(wire)
        except (OSError, TimeoutError, StoreError) as error:
            if wire is not None:
                wire.fail("the connection could not be set up")
            code = error.code if isinstance(error, StoreError) else ""
            raise StoreError(str(error) or f"no connection within {self._timeout:g} s", code) from error
        return wire


def _all_sent(wire: Wire, wires: Sequence[bytes]) -> asyncio.Future[Reply]:
    for unheard in wires[:-1]:
        wire.send(unheard).add_done_callback(heard)
    return wire.send(wires[-1])
