"""The inference server beside a hand-written one and beside in-process ``session.run``, in one run.

Prints requests per second and p50/p99 for a gradient-boosting model (30 features) over v2 JSON, medians of rounds that
alternate between the servers, and the ratio to the hand-written server with its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import httpx
import numpy as np
import onnxruntime as ort
import uvloop
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier

from benchmarks.figures import processor_seconds

HERE = Path(__file__).parent
LIMIT = 0.80  # of the hand-written server's rate, small JSON


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
        start = self._buffer.find(b"content-length: ") + 16
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
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(processor_seconds(int(each)) for each in (pid, *children))


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


def http_request(rows: np.ndarray[Any, Any]) -> bytes:
    """The bytes of a v2 request."""
    tensor = {"name": "X", "datatype": "FP32", "shape": rows.shape, "data": rows.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = "POST /v2/models/gbc/infer HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def train(path: Path) -> np.ndarray[Any, Any]:
    """Writes the model; returns the rows it was trained on."""
    features, target = load_breast_cancer(return_X_y=True)
    features = features.astype(np.float32)
    model = GradientBoostingClassifier(random_state=0).fit(features, target)
    path.write_bytes(to_onnx(model, features[:1], options={"zipmap": False}).SerializeToString())
    return np.asarray(features)


@contextmanager
def server(
    arguments: list[str], port: int, ready: str = "/v2/health/ready", python: str = sys.executable, **environment: str
) -> Iterator[int]:
    """A server process, ready on ``port`` when the route ``ready`` says so; yields its process id."""
    process = subprocess.Popen([python, *arguments], env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 180
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}{ready}").raise_for_status()
                break
            except httpx.HTTPStatusError:
                if arguments[0] != "-m":  # the hand-written one has no health route
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


def in_process(model: Path, rows: np.ndarray[Any, Any], seconds: float) -> float:
    """Runs per second of the bare session."""
    options = ort.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    began = time.perf_counter()
    count = 0
    while time.perf_counter() - began < seconds:
        session.run(None, {"X": rows})
        count += 1
    return count / (time.perf_counter() - began)


def median(loads: list[LoadSample]) -> LoadSample:
    return LoadSample(*(statistics.median(values) for values in zip(*loads, strict=True)))


def main() -> int:
    """Prints one block per case; returns 1 if a ratio is below its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model = Path(folder, "gbc.onnx")
        features = train(model)
        hand, ours = free_port(), free_port()
        environment = {
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_PORT": str(ours),
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_MODEL_NAME": "gbc",
            "MILLRACE_DEPLOYMENT": "gbc",
            "MILLRACE_MODEL_PATH": str(model),
        }
        arguments = [str(HERE / "handwritten_inference.py"), str(model), str(hand)]
        pids = {
            hand: stack.enter_context(server(arguments, hand)),
            ours: stack.enter_context(server(["-m", "millrace_services.inference", "serve"], ours, **environment)),
        }
        for rows, connections, limit in ((1, 1, LIMIT), (1, 16, LIMIT), (32, 16, None)):
            request = http_request(features[:rows])
            results: dict[int, list[LoadSample]] = {hand: [], ours: []}
            for _ in range(options.rounds):
                for port, loads in results.items():
                    loads.append(load(port, pids[port], request, connections, options.seconds))
            bare = in_process(model, features[:rows], options.seconds)
            ratio = statistics.median(
                our.rate / their.rate for our, their in zip(results[ours], results[hand], strict=True)
            )
            bound = f" (limit {limit:.0%})" if limit else ""
            mine, theirs = median(results[ours]), median(results[hand])
            print(f"GBC batch {rows}, {connections} connections: {ratio:.0%} of the hand-written rate{bound}")
            print(f"  millrace       {summary(mine)}, p99 {mine.p99 / theirs.p99:.1f} times the hand-written (limit 2)")
            print(f"  hand-written   {summary(theirs)}")
            print(f"  session.run    {bare:>7,.0f}/s in process")
            missed += limit is not None and ratio < limit
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
