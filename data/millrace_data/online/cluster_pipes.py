"""The nodes of a cluster, as the gateway speaks to them: what is asked goes to the holders of the keys' slots at once.

Source: https://valkey.io/topics/cluster-spec/. MOVED says that a slot has another holder from now on; ASK that the keys
asked for are already at the node that a slot is moving to; TRYAGAIN that only some of them are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from millrace_core.features.online.store_url import Host, StoreUrl
from millrace_data.online.pipe import Pipe, security
from millrace_data.online.slots import SLOTS, slot
from millrace_data.online.wire import Command, Keys, Reply, StoreError, about, packed

_ASKING: Final = packed(b"ASKING", [])
# How often a question may be sent elsewhere, and the pause before it is asked again where nobody has an answer yet.
_DETOURS: Final = 8
_PAUSE_SECONDS: Final = 0.05
# Codes after which the map of slots is fetched again; the empty one is a broken connection.
_LOST: Final = ("", "CLUSTERDOWN", "LOADING", "READONLY")


class ClusterPipes:
    """A map of slots, one pipe per node."""

    def __init__(self, where: StoreUrl, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._tls = security(where.tls)
        self._pipes: dict[Host, Pipe] = {}
        self._holders: list[Pipe | None] = [None] * SLOTS
        self._mapped = False
        self._mapping: asyncio.Task[None] | None = None

    async def mget(self, keys: Sequence[Keys]) -> list[bytes | None]:
        """One MGET per slot, because a server refuses keys of several."""
        if not self._mapped:
            await self._map()
        return await self._values([prefix + end for prefix, ends in keys for end in ends])

    async def _values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        places: dict[int, list[int]] = {}
        for index, key in enumerate(keys):
            places.setdefault(slot(key), []).append(index)
        asked = list(places.items())
        wires = [packed(b"MGET", [keys[index] for index in indexes]) for _, indexes in asked]
        answers = await self._all([number for number, _ in asked], wires)
        values: list[bytes | None] = [None] * len(keys)
        apart = []
        for (_, indexes), answer in zip(asked, answers, strict=True):
            if isinstance(answer, StoreError):
                if answer.code != "TRYAGAIN":
                    raise answer
                apart += indexes
                continue
            for index, value in zip(indexes, answer, strict=True):
                values[index] = value
        if apart:
            alone = await self._all([slot(keys[i]) for i in apart], [packed(b"GET", [keys[i]]) for i in apart])
            for index, answer in zip(apart, alone, strict=True):
                if isinstance(answer, StoreError):
                    raise answer
                values[index] = answer
        return values

    async def ask(self, command: bytes, key: bytes, arguments: Sequence[bytes]) -> Reply:
        """The answer."""
        if not self._mapped:
            await self._map()
        [answer] = await self._all([slot(key)], [about(command, key, arguments)])
        if isinstance(answer, StoreError):
            raise answer
        return answer  # type: ignore[no-any-return]

    async def run(self, commands: Sequence[Command]) -> list[int]:
        """The numbers."""
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
        for pipe in self._pipes.values():
            pipe.close()

    async def _all(self, slots: Sequence[int], wires: Sequence[bytes]) -> list[Any]:
        """The answers; a ``StoreError`` in place of one that nobody gave."""
        sent = [self._send(number, wire) for number, wire in zip(slots, wires, strict=True)]
        answers: list[Any] = await asyncio.gather(*sent, return_exceptions=True)
        lost = [index for index, answer in enumerate(answers) if isinstance(answer, BaseException)]
        if lost:
            again = await asyncio.gather(*(self._again(slots[i], wires[i], answers[i]) for i in lost))
            for index, answer in zip(lost, again, strict=True):
                answers[index] = answer
        return answers

    def _send(self, number: int, wire: bytes) -> asyncio.Future[Reply]:
        pipe = self._holders[number]
        if pipe is not None:
            return pipe.send(wire)
        nobody: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        nobody.set_exception(StoreError(f"no node of the cluster holds slot {number}", "CLUSTERDOWN"))
        return nobody

    async def _again(self, number: int, wire: bytes, error: Any) -> Any:
        """Follows a question to where it is answered."""
        try:
            async with asyncio.timeout(self._timeout):
                for detour in range(_DETOURS):
                    if not isinstance(error, StoreError):
                        return error
                    asked = await self._elsewhere(number, error, _PAUSE_SECONDS if detour else 0)
                    if asked is None:
                        return error
                    pipe, before = asked
                    try:
                        return await pipe.send(*before, wire)
                    except StoreError as another:
                        error = another
        except TimeoutError:
            return StoreError(f"no answer within {self._timeout:g} s: {error}")
        except StoreError as failure:
            return failure
        return error

    async def _elsewhere(self, number: int, error: StoreError, pause: float) -> tuple[Pipe, tuple[bytes, ...]] | None:
        """Where to ask after an error and what must go before the question; None where it is an answer."""
        if error.code == "ASK":
            return self._pipe(_named(str(error))), (_ASKING,)
        if error.code == "MOVED":
            pipe = self._holders[number] = self._pipe(_named(str(error)))
            return pipe, ()
        if error.code not in _LOST:
            return None
        await asyncio.sleep(pause)
        await self._map()
        holder = self._holders[number]
        return None if holder is None else (holder, ())

    async def _map(self) -> None:
        """Fetches who holds what; all that need it meanwhile wait for the same attempt."""
        if self._mapping is None or self._mapping.done():
            self._mapping = asyncio.create_task(self._fetch())
        await asyncio.shield(self._mapping)

    async def _fetch(self) -> None:
        error = StoreError("no node of the cluster is known")
        known = sorted(self._pipes, key=lambda host: not self._pipes[host].connected)
        for host in dict.fromkeys((*known, *self._where.hosts)):
            try:
                said: Any = await self._pipe(host).send(packed(b"CLUSTER", [b"SLOTS"]))
            except StoreError as failure:
                error = failure
                continue
            if not said:
                error = StoreError(f"{host} knows of no slots", "CLUSTERDOWN")
                continue
            self._learn(said, host)
            return
        raise error

    def _learn(self, said: list[Any], told_by: Host) -> None:
        holders: list[Pipe | None] = [None] * SLOTS
        hosts = set()
        for first, last, (name, port, *_), *_ in said:
            # A node that knows no address of its own leaves it empty: it is where it was asked.
            host = Host(name.decode() if name else told_by.name, int(port))
            hosts.add(host)
            holders[int(first) : int(last) + 1] = [self._pipe(host)] * (int(last) - int(first) + 1)
        for gone in [host for host in self._pipes if host not in hosts]:
            self._pipes.pop(gone).close()
        self._holders = holders
        self._mapped = True

    def _pipe(self, host: Host) -> Pipe:
        pipe = self._pipes.get(host)
        if pipe is None:
            pipe = self._pipes[host] = Pipe(host, self._timeout, login=self._where.login, tls=self._tls)
        return pipe


def _named(said: str) -> Host:
    """The node in ``MOVED 3999 127.0.0.1:6381``."""
    name, _, port = said.split(" ")[2].rpartition(":")
    return Host(name, int(port))
