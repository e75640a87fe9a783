"""The client of a cluster: commands go to the nodes that hold the slots of their keys, to all of them at once.

Source: https://valkey.io/topics/cluster-spec/. MOVED says that a slot has another holder from now on; ASK that the keys
of the command are already at the node that a slot is moving to; TRYAGAIN that only some of them are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from millrace_core.features.online.store_url import Host, StoreUrl
from millrace_data.online.connection import SharedConnection, tls_context
from millrace_data.online.resp import Command, KeyGroup, Reply, pack, pack_for_key
from millrace_data.online.slots import SLOTS, slot
from millrace_data.online.store_errors import CLOSED, READONLY, REFUSED, TIMEOUT, UNRESOLVED, StoreError

_ASKING: Final = pack(b"ASKING", [])
# How often a command may be redirected, and the pause before it is sent again where no node can execute it yet.
_REDIRECTS: Final = 8
_PAUSE_SECONDS: Final = 0.05
# Codes after which the map of slots is fetched again, and the command sent to the holder that it names.
_LOST: Final = (CLOSED, TIMEOUT, REFUSED, UNRESOLVED, "CLUSTERDOWN", "LOADING", READONLY)


class ClusterClient:
    """Knows which node holds which slot, and has one connection per node."""

    def __init__(self, where: StoreUrl, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._tls = tls_context(where.tls)
        self._connections: dict[Host, SharedConnection] = {}
        self._holders: list[SharedConnection | None] = [None] * SLOTS
        self._mapped = False
        self._mapping: asyncio.Task[None] | None = None

    async def mget(self, groups: Sequence[KeyGroup]) -> list[bytes | None]:
        """One MGET per slot, because a server refuses keys of several."""
        if not self._mapped:
            await self._map()
        return await self._values([prefix + end for prefix, ends in groups for end in ends])

    async def _values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        places: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            places.setdefault(slot(key), []).append(index)
        by_slot = list(places.items())
        wires = [pack(b"MGET", [keys[index] for index in indexes]) for _, indexes in by_slot]
        answers = await self._all([number for number, _ in by_slot], wires)
        values: list[bytes | None] = [None] * len(keys)
        apart = []
        for (_, indexes), answer in zip(by_slot, answers, strict=True):
            if isinstance(answer, StoreError):
                if answer.code != "TRYAGAIN":
                    raise answer
                apart += indexes
                continue
            for index, value in zip(indexes, answer, strict=True):
                values[index] = value
        if apart:
            alone = await self._all([slot(keys[i]) for i in apart], [pack(b"GET", [keys[i]]) for i in apart])
            for index, answer in zip(apart, alone, strict=True):
                if isinstance(answer, StoreError):
                    raise answer
                values[index] = answer
        return values

    async def execute(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The reply."""
        if not self._mapped:
            await self._map()
        [answer] = await self._all([slot(key)], [pack_for_key(command, key, arguments)])
        if isinstance(answer, StoreError):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def execute_all(self, commands: Sequence[Command]) -> list[int]:
        """The replies."""
        if not self._mapped:
            await self._map()
        answers = await self._all([command.slot for command in commands], [command.wire for command in commands])
        for answer in answers:
            if isinstance(answer, StoreError):
                raise answer
        return [int(answer) for answer in answers]

    def close(self) -> None:
        """Closes all connections."""
        if self._mapping is not None:
            self._mapping.cancel()
        for connection in self._connections.values():
            connection.close()

    async def _all(self, slots: Sequence[int], wires: Sequence[bytes]) -> list[Any]:
        """The replies; a ``StoreError`` in place of one that no node gave."""
        sent = [self._send(number, wire) for number, wire in zip(slots, wires, strict=True)]
        answers: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
        lost = [index for index, answer in enumerate(answers) if isinstance(answer, BaseException)]
        if lost:
            again = await asyncio.gather(*(self._again(slots[i], wires[i], answers[i]) for i in lost))
            for index, answer in zip(lost, again, strict=True):
                answers[index] = answer
        return answers

    def _send(self, number: int, wire: bytes) -> asyncio.Future[Reply]:
        connection = self._holders[number]
        if connection is not None:
            return connection.send(wire)
        nobody: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        nobody.set_exception(StoreError(f"no node of the cluster holds slot {number}", "CLUSTERDOWN"))
        return nobody

    async def _again(self, number: int, wire: bytes, error: Any) -> Any:
        """Sends a command that failed again, to where it is executed."""
        try:
            async with asyncio.timeout(self._timeout):
                connection = self._holders[number]
                for redirect in range(_REDIRECTS):
                    if not isinstance(error, StoreError):
                        return error
                    pause = _PAUSE_SECONDS if redirect else 0
                    target = await self._redirected(number, error, connection, pause)
                    if target is None:
                        return error
                    connection, before = target
                    try:
                        return await connection.send(*before, wire)
                    except StoreError as another:
                        error = another
        except TimeoutError:
            return StoreError(f"no answer within {self._timeout:g} s: {error}", TIMEOUT)
        except StoreError as failure:
            return failure
        return StoreError(f"slot {number} is redirected again and again: {error}", "CLUSTERDOWN")

    async def _redirected(
        self, number: int, error: StoreError, failed: SharedConnection | None, pause: float
    ) -> tuple[SharedConnection, tuple[bytes, ...]] | None:
        """Where to send a command after an error, and what must go before it; None where the error is final."""
        if error.code == "ASK":
            return self._connection(_target(str(error), failed)), (_ASKING,)
        if error.code == "MOVED":
            connection = self._holders[number] = self._connection(_target(str(error), failed))
            return connection, ()
        if error.code not in _LOST:
            return None
        await asyncio.sleep(pause)
        await self._map()
        holder = self._holders[number]
        return None if holder is None else (holder, ())

    async def _map(self) -> None:
        """Fetches the map of slots; all callers that need it meanwhile wait for the same attempt."""
        if self._mapping is None or self._mapping.done():
            self._mapping = asyncio.create_task(self._fetch())
        await asyncio.shield(self._mapping)

    async def _fetch(self) -> None:
        error = StoreError("no node of the cluster is known", "CLUSTERDOWN")
        known = sorted(self._connections, key=lambda host: not self._connections[host].connected)
        for host in dict.fromkeys((*known, *self._where.hosts)):
            try:
                slots: Any = await self._connection(host).send(pack(b"CLUSTER", [b"SLOTS"]))
            except StoreError as failure:
                error = failure
                continue
            if not slots:
                error = StoreError(f"{host} knows of no slots", "CLUSTERDOWN")
                continue
            self._learn(slots, host)
            return
        raise error

    def _learn(self, slots: list[Any], asked: Host) -> None:
        holders: list[SharedConnection | None] = [None] * SLOTS
        hosts = set()
        for first, last, (name, port, *_), *_ in slots:
            # A node that does not know its own address leaves it empty; it is the one that replied.
            host = Host(name.decode() if name else asked.name, int(port))
            hosts.add(host)
            holders[int(first) : int(last) + 1] = [self._connection(host)] * (int(last) - int(first) + 1)
        for gone in [host for host in self._connections if host not in hosts]:
            self._connections.pop(gone).close()
        self._holders = holders
        self._mapped = True

    def _connection(self, host: Host) -> SharedConnection:
        connection = self._connections.get(host)
        if connection is None:
            connection = self._connections[host] = SharedConnection(
                host, self._timeout, login=self._where.login, tls=self._tls
            )
        return connection


def _target(reply: str, sender: SharedConnection | None) -> Host:
    """The node in ``MOVED 3999 127.0.0.1:6381``; without a name, as in ``MOVED 3999 :6381``, it is the sender's."""
    name, _, port = reply.split(" ")[2].rpartition(":")
    if not name and sender is not None and sender.host is not None:
        name = sender.host.name
    return Host(name, int(port))
