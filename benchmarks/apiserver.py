"""The embedded API server: validated creates per second, latency of watch events, memory with 10,000 objects.

The server runs as its own process with the three Millrace CRDs (structural schemas, defaults, CEL); this process is the
client, with eight connections over plain asyncio so that it costs little. Each figure stands beside its limit.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace_kube.connection import Connection
from millrace_local.apiserver.process import RunningServer, start

ROOT = Path(__file__).parent.parent
VIEWS = "/apis/millrace.dev/v1alpha1/namespaces/default/featureviews"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CONNECTIONS = 8
ROUNDS = 3
CREATES = 6_000  # in all rounds together
OBJECTS = 10_000
EVENTS = 1_000
EVENTS_PER_SECOND = 200

CREATES_LIMIT = 1_500.0  # per second, at least
EVENT_LIMIT = 20.0  # milliseconds, at most
MEMORY_LIMIT = 200.0  # MiB, at most


def feature_view(name: str) -> dict[str, Any]:
    """A feature view with two features, a schedule and a retention."""
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "FeatureView",
        "metadata": {"name": name, "labels": {"team": "payments"}},
        "spec": {
            "description": "Orders of a customer",
            "owner": "payments@example.com",
            "entities": [{"name": "customer_id", "type": "int64"}],
            "source": {"parquet": {"uri": "s3://lake/orders/"}, "timestampField": "ordered_at"},
            "ttl": "30d",
            "features": [{"name": "amount", "type": "float64"}, {"name": "country", "type": "string"}],
            "materialization": {"schedule": "*/15 * * * *", "startFrom": "2025-01-01T00:00:00Z"},
        },
    }


def head(line: str, known: Connection) -> str:
    """The head of a request, without the empty line at its end."""
    return f"{line} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {known.authorization()['Authorization']}\r\n"


def post(path: str, document: Any, known: Connection) -> bytes:
    """The bytes of a POST request."""
    body = json.dumps(document).encode()
    first = head(f"POST {path}", known) + "user-agent: bench/1\r\ncontent-type: application/json\r\n"
    return first.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Reads one answer; returns its body.

    Raises:
        RuntimeError: the answer was no success.
    """
    first = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in first.split(b"\r\n") if line.lower().startswith(b"content-length"))
    body = await reader.readexactly(length)
    if not first.startswith(b"HTTP/1.1 20"):
        raise RuntimeError(body.decode())
    return body


async def connect(known: Connection) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One more connection to the server."""
    address = urlsplit(known.server)
    return await asyncio.open_connection(address.hostname, address.port, ssl=known.tls)


async def send_all(known: Connection, requests: Iterator[bytes]) -> None:
    """Sends the requests over the connections, each waiting for its answer before the next."""

    async def one() -> None:
        reader, writer = await connect(known)
        for request in requests:
            writer.write(request)
            await answer(reader)
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def creates_per_second(known: Connection, path: str, documents: list[dict[str, Any]]) -> float:
    """Creates the objects; returns the rate."""
    requests = [post(path, document, known) for document in documents]
    started = time.perf_counter()
    asyncio.run(send_all(known, iter(requests)))
    return len(requests) / (time.perf_counter() - started)


async def event_latencies(known: Connection) -> list[float]:
    """Milliseconds from the start of a create until its watch event arrives, at a steady rate."""
    sent: dict[str, float] = {}
    latencies: list[float] = []
    watch, watch_writer = await connect(known)
    watch_writer.write((head(f"GET {CONFIG_MAPS}?watch=1&labelSelector=bench=watch", known) + "\r\n").encode())
    await watch.readuntil(b"\r\n\r\n")

    async def receive() -> None:
        rest = b""
        while len(latencies) < EVENTS:
            size = int(await watch.readline(), 16)
            chunk = rest + (await watch.readexactly(size + 2))[:-2]
            now = time.perf_counter()
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                latencies.append((now - sent[json.loads(line)["object"]["metadata"]["name"]]) * 1e3)

    receiving = asyncio.create_task(receive())
    reader, writer = await connect(known)
    due = time.perf_counter()
    for index in range(EVENTS):
        due += 1 / EVENTS_PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        name = f"watched-{index}"
        metadata = {"name": name, "labels": {"bench": "watch"}}
        sent[name] = time.perf_counter()
        writer.write(post(CONFIG_MAPS, {"metadata": metadata, "data": {"key": "x" * 500}}, known))
        await answer(reader)
    await receiving
    return latencies


def resident_mib(pid: int) -> float:
    """Resident memory of a process, from Linux's /proc."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def _round(known: Connection, number: int) -> float:
    return creates_per_second(known, VIEWS, [feature_view(f"view-{number}-{n}") for n in range(CREATES // ROUNDS)])


def measured(server: RunningServer) -> bool:
    """Takes and prints all figures; returns whether each is within its limit."""
    known = server.connection
    rounds = [_round(known, number) for number in range(ROUNDS)]
    views = statistics.median(rounds)
    print(
        f"validated creates         {views:8.0f} /s   (limit {CREATES_LIMIT:.0f} /s at least; best {max(rounds):.0f})"
    )
    latencies = asyncio.run(event_latencies(known))
    p50, p99 = statistics.median(latencies), statistics.quantiles(latencies, n=100)[98]
    print(f"watch event at {EVENTS_PER_SECOND}/s, p50  {p50:8.2f} ms   p99 {p99:.2f} ms, worst {max(latencies):.2f} ms")
    print(f"watch event at {EVENTS_PER_SECOND}/s, p99  {p99:8.2f} ms   (limit {EVENT_LIMIT:.0f} ms)")
    missing = OBJECTS - CREATES - EVENTS
    creates_per_second(known, VIEWS, [feature_view(f"more-{n}") for n in range(missing)])
    memory = resident_mib(server.pid)
    print(f"memory with {OBJECTS} objects {memory:7.0f} MiB  (limit {MEMORY_LIMIT:.0f} MiB)")
    return views >= CREATES_LIMIT and p99 <= EVENT_LIMIT and memory < MEMORY_LIMIT


def main() -> int:
    """Returns 1 if a figure misses its limit."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        started = time.perf_counter()
        server = start(data, kubeconfig=data / "kubeconfig", crds=[ROOT / "crds"])
        print(f"start to ready            {time.perf_counter() - started:8.2f} s")
        try:
            return 0 if measured(server) else 1
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
