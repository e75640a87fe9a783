"""The store as the gateway speaks to it: one server, the master that sentinels name, or the nodes of a cluster.

Each kind has the same few verbs. All that a call asks goes out at once, so a call is one round trip, unless a server
sends it elsewhere. A server that is gone is looked for again by the next call, so while a failover lasts calls fail,
and afterwards they answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Protocol

from millrace_core.features.online.store_url import Host, StoreUrl
from millrace_data.online.cluster_pipes import ClusterPipes
from millrace_data.online.pipe import Pipe, security
from millrace_data.online.wire import Command, Keys, Reply, StoreError, Wire, about, heard, packed, packed_keys

# How often sentinels are asked whether the master is still the same, and how long one of them may take.
_LOOK_SECONDS: Final = 2.0


class Pipes(Protocol):
    """The verbs. All fail with ``StoreError``."""

    def mget(self, keys: Sequence[Keys]) -> Awaitable[list[bytes | None]]:
        """The values of keys, None where there is none."""

    async def ask(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The answer to a command about one key, which stands first or (EVAL) as its only key."""

    async def run(self, commands: Sequence[Command]) -> list[int]:
        """The numbers that commands answer."""

    def close(self) -> None:
        """Closes all connections."""


def open_pipes(where: StoreUrl, timeout: float) -> Pipes:
    """Pipes to a store; they connect on first use."""
    if where.kind == "cluster":
        return ClusterPipes(where, timeout)
    return SentinelPipes(where, timeout) if where.kind == "sentinel" else SinglePipes(Pipe.to(where, timeout))


class SinglePipes:
    """One server."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def mget(self, keys: Sequence[Keys]) -> Awaitable[list[bytes | None]]:
        """One MGET."""
        return self._pipe.send(packed_keys(b"MGET", keys))  # type: ignore[return-value]

    async def ask(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The answer."""
        return await self._pipe.send(about(command, key, arguments))

    async def run(self, commands: Sequence[Command]) -> list[int]:
        """The numbers."""
        return await numbers([self._pipe.send(command.wire) for command in commands])

    def close(self) -> None:
        """Closes the connection."""
        self._pipe.close()


class SentinelPipes:
    """The server that sentinels call the master of their service."""

    def __init__(self, where: StoreUrl, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._tls = security(where.tls)
        self._sentinels = [
            Pipe(host, min(timeout, _LOOK_SECONDS), login=where.sentinel_login, tls=self._tls) for host in where.hosts
        ]
        self._host: Host | None = None
        self._pipe: Pipe | None = None
        self._looking: asyncio.Task[Pipe] | None = None
        self._look_at = 0.0

    async def mget(self, keys: Sequence[Keys]) -> list[bytes | None]:
        """One MGET."""
        return await (await self._master()).send(packed_keys(b"MGET", keys))  # type: ignore[return-value]

    async def ask(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The answer."""
        return await (await self._master()).send(about(command, key, arguments))

    async def run(self, commands: Sequence[Command]) -> list[int]:
        """The numbers."""
        master = await self._master()
        return await numbers([master.send(command.wire) for command in commands])

    def close(self) -> None:
        """Closes all connections."""
        if self._looking is not None:
            self._looking.cancel()
        for pipe in (*self._sentinels, self._pipe):
            if pipe is not None:
                pipe.close()

    async def _master(self) -> Pipe:
        pipe = self._pipe
        now = asyncio.get_running_loop().time()
        if pipe is not None and pipe.connected:
            # A master that was cut off from the others still answers, with what it has.
            if now >= self._look_at:
                self._look_at = now + _LOOK_SECONDS
                self._look()
            return pipe
        return await asyncio.shield(self._look())

    def _look(self) -> asyncio.Task[Pipe]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._find())
            self._looking.add_done_callback(heard)
        return self._looking

    async def _find(self) -> Pipe:
        """Asks all sentinels at once; the first that knows decides."""
        service = self._where.service.encode()
        said = [
            sentinel.send(packed(b"SENTINEL", [b"GET-MASTER-ADDR-BY-NAME", service])) for sentinel in self._sentinels
        ]
        why = f"no sentinel knows a master of {self._where.service!r}"
        try:
            for answer in asyncio.as_completed(said):
                try:
                    found: Any = await answer
                except StoreError as error:
                    why = f"a sentinel does not answer: {error}"
                    continue
                if found:
                    return self._use(Host(found[0].decode(), int(found[1])))
        finally:
            for future in said:
                future.add_done_callback(heard)
        raise StoreError(why)

    def _use(self, host: Host) -> Pipe:
        if self._pipe is None or self._host != host:
            if self._pipe is not None:
                self._pipe.close()
            where = self._where
            self._host = host
            self._pipe = Pipe(
                host, self._timeout, login=where.login, database=where.database, tls=self._tls, check=_require_master
            )
        return self._pipe


async def _require_master(wire: Wire) -> None:
    said = await wire.send(packed(b"INFO", [b"replication"]))
    if not isinstance(said, bytes) or b"role:master" not in said:
        raise StoreError("the server that the sentinels name is no master yet")


async def numbers(answers: Sequence[asyncio.Future[Reply]]) -> list[int]:
    """The answers as numbers, once all are there. Raises the first ``StoreError`` among them."""
    results = await asyncio.gather(*answers, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [int(result) for result in results]  # type: ignore[arg-type]
