"""Load over kept connections that counts each request by what became of it, and the processes of a pod, to end them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.e2e.mesh import INFER

CLIENT_SECONDS = 60.0  # longer than the mesh gives any request


class Load:
    """Inferences of ``features = [[1, 2]]`` over some connections, inside the ``with`` block.

    Args:
        pause: seconds from an answer to the next request of the same connection.

    Attributes:
        done: how many requests were answered or failed.
        answers: of those that succeeded: how often each output came.
        failures: of the others: how often each kind came.
        seconds: how long each request took.
    """

    def __init__(self, ingress: str, service: str, namespace: str, connections: int, pause: float = 0.0) -> None:
        url = urlsplit(ingress)
        self._address = (str(url.hostname), int(url.port or 80))
        body = json.dumps(INFER).encode()
        self._request = (
            f"POST /v2/models/{service}/infer HTTP/1.1\r\nhost: {service}.{namespace}.svc.cluster.local\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._connections = connections
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self.answers: Counter[float] = Counter()
        self.failures: Counter[str] = Counter()
        self.seconds: list[float] = []

    @property
    def done(self) -> int:
        return len(self.seconds)

    def percentile(self, percent: float) -> float:
        """Milliseconds that so many of the requests took at most."""
        return 1e3 * sorted(self.seconds)[min(self.done - 1, int(self.done * percent / 100))]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                reader, writer = await asyncio.open_connection(*self._address)
                try:
                    while not self._stop.is_set():
                        began = time.perf_counter()
                        async with asyncio.timeout(CLIENT_SECONDS):
                            await self._ask(reader, writer)
                        self.seconds.append(time.perf_counter() - began)
                        if self._pause:
                            await asyncio.sleep(self._pause)
                finally:
                    writer.close()
            except (OSError, EOFError, TimeoutError) as error:
                self.failures[type(error).__name__] += 1
                self.seconds.append(time.perf_counter() - began)

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(fields["content-length"]))
        status = head.split()[1]
        if status == "200":
            self.answers[json.loads(body)["outputs"][0]["data"][0]] += 1
        else:
            self.failures[f"{status} {body.decode()[:200]}"] += 1


def processes_of(pod: dict[str, Any]) -> list[int]:
    """The processes that serve a pod of the embedded node, those that keep the port first."""
    mark = f"MILLRACE_HOST={pod['status']['podIP']}".encode()
    found = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _has(path, mark)]
    return sorted(found)


def _has(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def signal_pod(pod: dict[str, Any], number: signal.Signals) -> None:
    """Sends a signal to all processes that serve a pod."""
    for process in processes_of(pod):
        os.kill(process, number)
