"""Load over keep-alive connections, for benchmarks of servers: closed, where each answer brings the next request."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

import httpx
import uvloop

from benchmarks.figures import processor_seconds

_LENGTH: Final = b"\r\ncontent-length: "


class LoadSample(NamedTuple):
    """One measurement: requests per second, latencies in milliseconds, the server's processor time per request in µs.

    Processor time is what can be compared on a busy machine.
    """

    rate: float
    p50: float
    p99: float
    cpu: float


class KeepAliveClient(asyncio.Protocol):
    """One keep-alive connection that sends the next request when the response to the last is complete."""

    def __init__(self, request: bytes, until: float) -> None:
        self._request = request
        self._until = until
        self._buffer = b""
        self._sent = 0.0
        self.seconds: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.find(_LENGTH) + len(_LENGTH)
        length = int(self._buffer[start : self._buffer.find(b"\r\n", start)])
        if len(self._buffer) < head + 4 + length:
            return
        assert self._buffer.startswith(b"HTTP/1.1 200"), self._buffer
        self._buffer = b""
        now = time.perf_counter()
        self.seconds.append(now - self._sent)
        if now < self._until:
            self._send()
        else:
            self._transport.close()
            self.done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server closed the connection"))

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)


def load(port: int, pid: int, request: bytes, connections: int, seconds: float) -> LoadSample:
    """Keeps ``connections`` busy for ``seconds``."""
    before = processor_seconds_of_all(pid)
    took, elapsed = uvloop.run(keep_busy(port, request, connections, seconds))
    cpu = processor_seconds_of_all(pid) - before
    p50, p99 = statistics.median(took), sorted(took)[int(0.99 * len(took))]
    return LoadSample(len(took) / elapsed, 1e3 * p50, 1e3 * p99, 1e6 * cpu / len(took))


def processor_seconds_of_all(pid: int) -> float:
    """The processor time of a server and of its children: our server is the child of what keeps its port."""
    return sum(processor_seconds(each) for each in (pid, *children(pid)))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def keep_busy(port: int, request: bytes, connections: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of every request, and seconds in all."""
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: KeepAliveClient(request, began + seconds), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    return [second for client in clients for second in client.seconds], time.perf_counter() - began


def summary(load: LoadSample) -> str:
    return f"{load.rate:>7,.0f}/s, p50 {load.p50:.2f} ms, p99 {load.p99:.2f} ms, {load.cpu:.0f} µs of CPU each"


@contextmanager
def server(
    arguments: list[str], port: int, ready: str = "/v2/health/ready", python: str = sys.executable, **environment: str
) -> Iterator[int]:
    """A server process, ready on ``port`` when the route ``ready`` says so; yields its process id."""
    process = subprocess.Popen(
        [python, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 180
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{ready}").raise_for_status()
                break
            except httpx.HTTPStatusError:
                if "handwritten_" in arguments[0]:  # it has no health route
                    break
            except httpx.TransportError:
                assert process.poll() is None
                assert time.monotonic() < until
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def median(loads: list[LoadSample]) -> LoadSample:
    return LoadSample(*(statistics.median(values) for values in zip(*loads, strict=True)))


class PacedClient(asyncio.Protocol):
    """One keep-alive connection that sends a request each ``interval`` seconds, or when the last answer comes later."""

    def __init__(self, request: bytes, interval: float, until: float) -> None:
        self._request = request
        self._interval = interval
        self._until = until
        self._buffer = b""
        self._due = 0.0
        self._sent = 0.0
        self.codes: Counter[int] = Counter()
        self.slowest = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._due = time.perf_counter()
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.find(_LENGTH) + len(_LENGTH)
        length = int(self._buffer[start : self._buffer.find(b"\r\n", start)])
        if len(self._buffer) < head + 4 + length:
            return
        now = time.perf_counter()
        self.codes[int(self._buffer[9:12])] += 1
        self.slowest = max(self.slowest, now - self._sent)
        self._buffer = b""
        self._due = max(now, self._due + self._interval)
        asyncio.get_running_loop().call_later(self._due - now, self._send)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        if self._sent >= self._until:
            self._transport.close()
            self.done.set_result(None)
        else:
            self._transport.write(self._request)


class Overload(NamedTuple):
    """Answers per second: those of 200, those shed by 429, all others; and the slowest answer in seconds."""

    good: float
    shed: float
    other: float
    slowest: float


def overload(port: int, request: bytes, connections: int, rate: float, seconds: float) -> Overload:
    """Sends ``rate`` requests per second, or as many as the server answers if that is less."""

    async def flood() -> list[PacedClient]:
        loop = asyncio.get_running_loop()
        until, interval = time.perf_counter() + seconds, connections / rate
        clients = []
        for _ in range(connections):
            made = await loop.create_connection(lambda: PacedClient(request, interval, until), "127.0.0.1", port)
            clients.append(made[1])
        await asyncio.gather(*(client.done for client in clients))
        return clients

    clients = uvloop.run(flood())
    codes: Counter[int] = Counter()
    for client in clients:
        codes += client.codes
    other = sum(count for code, count in codes.items() if code not in (200, 429))
    return Overload(*(n / seconds for n in (codes[200], codes[429], other)), max(each.slowest for each in clients))
