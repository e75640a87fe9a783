"""The store as the gateway speaks to it: one server, the master that sentinels name, or the nodes of a cluster.

Each kind has the same few methods. All commands of a call go out at once, so a call is one round trip, unless a server
redirects it. A server that is gone is looked for again by the next call, so while a failover lasts calls fail, and
afterwards they succeed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

from millrace_core.features.online.store_url import Host, StoreUrl
from millrace_data.online.cluster_client import ClusterClient
from millrace_data.online.connection import SharedConnection, tls_context
from millrace_data.online.resp import (
    Command,
    KeyGroup,
    Reply,
    RespProtocol,
    ignore_failure,
    pack,
    pack_for_key,
    pack_keys,
)
from millrace_data.online.store_errors import NO_MASTER, StoreError

# How often sentinels are asked whether the master is still the same, and how long one of them may take.
_LOOK_SECONDS: Final = 2.0


class StoreClient(Protocol):
    """A store. All methods raise ``StoreError``."""

    def mget(self, groups: Sequence[KeyGroup]) -> Awaitable[list[bytes | None]]:
        """The values of keys, None where there is none."""

    async def execute(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The reply to a command on one key; ``arguments`` are those behind the key (of EVAL: the script first)."""

    async def execute_all(self, commands: Sequence[Command]) -> list[int]:
        """The replies to commands, all of which reply with a number."""

    def close(self) -> None:
        """Closes all connections."""


def open_client(where: StoreUrl, timeout: float) -> StoreClient:
    """The client of a store; it connects on first use."""
    if where.kind == "cluster":
        return ClusterClient(where, timeout)
    return (
        SentinelClient(where, timeout)
        if where.kind == "sentinel"
        else SingleClient(SharedConnection.to(where, timeout))
    )


class SingleClient:
    """The client of one server."""

    def __init__(self, connection: SharedConnection) -> None:
        self._connection = connection

    def mget(self, groups: Sequence[KeyGroup]) -> Awaitable[list[bytes | None]]:
        """One MGET."""
        return self._connection.send(pack_keys(b"MGET", groups))  # type: ignore[return-value]

    async def execute(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The reply."""
        return await self._connection.send(pack_for_key(command, key, arguments))

    async def execute_all(self, commands: Sequence[Command]) -> list[int]:
        """The replies."""
        return await numbers([self._connection.send(command.wire) for command in commands])

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class SentinelClient:
    """The client of the server that sentinels name as the master of their service."""

    def __init__(self, where: StoreUrl, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._tls = tls_context(where.tls)
        self._sentinels = [
            SharedConnection(host, min(timeout, _LOOK_SECONDS), login=where.sentinel_login, tls=self._tls)
            for host in where.hosts
        ]
        self._host: Host | None = None
        self._connection: SharedConnection | None = None
        self._search: asyncio.Task[SharedConnection] | None = None
        self._search_at = 0.0

    async def mget(self, groups: Sequence[KeyGroup]) -> list[bytes | None]:
        """One MGET."""
        return await (await self._master()).send(pack_keys(b"MGET", groups))  # type: ignore[return-value]

    async def execute(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The reply."""
        return await (await self._master()).send(pack_for_key(command, key, arguments))

    async def execute_all(self, commands: Sequence[Command]) -> list[int]:
        """The replies."""
        master = await self._master()
        return await numbers([master.send(command.wire) for command in commands])

    def close(self) -> None:
        """Closes all connections."""
        if self._search is not None:
            self._search.cancel()
        for connection in (*self._sentinels, self._connection):
            if connection is not None:
                connection.close()

    async def _master(self) -> SharedConnection:
        connection = self._connection
        now = asyncio.get_running_loop().time()
        if connection is not None and connection.connected:
            # A master that was cut off from the others still answers, with what it has.
            if now >= self._search_at:
                self._search_at = now + _LOOK_SECONDS
                self._start_search()
            return connection
        return await asyncio.shield(self._start_search())

    def _start_search(self) -> asyncio.Task[SharedConnection]:
        if self._search is None or self._search.done():
            self._search = asyncio.create_task(self._find())
            self._search.add_done_callback(ignore_failure)
        return self._search

    async def _find(self) -> SharedConnection:
        """Asks all sentinels at once; the first that knows the master decides."""
        service = self._where.service.encode()
        replies = [
            sentinel.send(pack(b"SENTINEL", [b"GET-MASTER-ADDR-BY-NAME", service])) for sentinel in self._sentinels
        ]
        failure = StoreError(f"no sentinel knows a master of {self._where.service!r}", NO_MASTER)
        try:
            for reply in asyncio.as_completed(replies):
                try:
                    address: Any = await reply
                except StoreError as error:
                    failure = StoreError(f"a sentinel does not answer: {error}", error.code)
                    continue
                if address:
                    return self._use(Host(address[0].decode(), int(address[1])))
        finally:
            for future in replies:
                future.add_done_callback(ignore_failure)
        raise failure

    def _use(self, host: Host) -> SharedConnection:
        if self._connection is None or self._host != host:
            if self._connection is not None:
                self._connection.close()
            where = self._where
            self._host = host
            self._connection = SharedConnection(
                host, self._timeout, login=where.login, database=where.database, tls=self._tls, check=_require_master
            )
        return self._connection


async def _require_master(server: RespProtocol) -> None:
    reply = await server.send(pack(b"INFO", [b"replication"]))
    if not isinstance(reply, bytes) or b"role:master" not in reply:
        raise StoreError("the server that the sentinels name is no master yet", NO_MASTER)


async def numbers(replies: Sequence[asyncio.Future[Reply]]) -> list[int]:
    """The replies as numbers, once all have come. Raises the first ``StoreError`` among them."""
    results = await asyncio.gather(*replies, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [int(result) for result in results]  # type: ignore[arg-type]
