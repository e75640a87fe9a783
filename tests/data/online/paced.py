"""A line to a real server on which replies come as far as the test lets them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.data.online.topologies import HOST


class PacedLine:
    """Passes commands on at once, and of the replies at most ``allowed`` bytes."""

    def __init__(self, server_port: int) -> None:
        # The first bytes of each connection. A client of another test may try a port that it knew before.
        self.greetings: list[bytes] = []
        self.port = 0
        self._server_port = server_port
        self._allowed: int | None = 0
        self._passed = 0
        self._more = asyncio.Event()
        self._progress = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    async def allow(self, count: int) -> None:
        """Lets replies come up to so many bytes in all; waits for a client, and until they are on their way to it."""
        self._allowed = count
        self._more.set()
        while self._passed < count or not self._tasks:
            self._progress.clear()
            await self._progress.wait()
        for _ in range(10):
            await asyncio.sleep(0)

    def allow_all(self) -> None:
        """Lets all replies come."""
        self._allowed = None
        self._more.set()

    async def cut(self) -> None:
        """Ends the connections, behind the bytes that were allowed."""
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            self._ended.clear()
            await self._ended.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(HOST, self._server_port)
        ways = [self._pass_all(reader, server_writer), self._pass_some(server_reader, writer)]
        tasks = [asyncio.create_task(way) for way in ways]
        self._tasks.update(tasks)
        self._progress.set()
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
                self._tasks.discard(task)
            writer.close()
            server_writer.close()
            self._ended.set()

    async def _pass_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = True
        while data := await reader.read(65536):
            if first:
                self.greetings.append(data)
                first = False
            writer.write(data)

    async def _pass_some(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            while data:
                count = len(data) if self._allowed is None else max(0, self._allowed - self._passed)
                writer.write(data[:count])
                self._passed += len(data[:count])
                self._progress.set()
                data = data[count:]
                if data:
                    self._more.clear()
                    await self._more.wait()


@asynccontextmanager
async def paced(server_port: int) -> AsyncIterator[PacedLine]:
    """A line to the server; its own port is ``port``."""
    line = PacedLine(server_port)
    listener = await asyncio.start_server(line.serve, HOST, 0)
    line.port = listener.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        await line.cut()
        listener.close()
