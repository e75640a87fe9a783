"""The cold start of a model of 500 MB from a local S3 server: the fetch beside what disk and network need alone.

``network`` is the same bytes over one socket, thrown away; ``disk`` a copy of the file by hand, with fsync; ``fetch``
is the process as a pod runs it, from start to end: it looks the object up, reads ranges, digests and syncs. Then
the same with the node's cache, and the load that follows either.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from millrace_core.base import destinations

ROUNDS = 5
MATRICES, WIDTH = 8, 4000  # 512 MB of float32
LIMIT = 1.3  # times the slower of disk and network, at most


def write_model(path: Path) -> None:
    """A chain of matrices."""
    noise = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(noise.random((WIDTH, WIDTH), dtype=np.float32), f"w{n}") for n in range(MATRICES)
    ]
    nodes = [helper.make_node("MatMul", [f"x{n}", f"w{n}"], [f"x{n + 1}"]) for n in range(MATRICES)]
    shape = [None, WIDTH]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"x{MATRICES}", TensorProto.FLOAT, shape)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


class Store(BaseHTTPRequestHandler):
    """What a client of S3 needs to read one object, sent by the kernel from the page cache."""

    protocol_version = "HTTP/1.1"
    file: Path
    disable_nagle_algorithm = True

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        size = self.file.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        start, stop = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
        self.send_response(206 if found else 200)
        self.send_header("content-length", str(stop - start))
        self.send_header("etag", '"1"')
        self.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        if found:
            self.send_header("content-range", f"bytes {start}-{stop - 1}/{size}")
        self.end_headers()
        self.wfile.flush()
        if body:
            with self.file.open("rb") as file:
                while start < stop:
                    start += os.sendfile(self.connection.fileno(), file.fileno(), start, stop - start)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def serve(path: Path) -> None:
    """Serves until its standard input ends; prints its port."""
    Store.file = path
    server = ThreadingHTTPServer(("127.0.0.1", 0), Store)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def network(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /models/m.onnx HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        buffer = bytearray(1 << 20)
        while connection.recv_into(buffer):
            pass


def disk(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("wb") as writing:
        while os.copy_file_range(reading.fileno(), writing.fileno(), 1 << 26):
            pass
        os.fsync(writing.fileno())


def fetch(port: int, folder: Path, cache: Path | None, digest: str) -> None:
    environ = {
        "MILLRACE_MODEL_URI": "s3://models/m.onnx",
        "MILLRACE_MODEL_PATH": str(folder / "model.onnx"),
        "MILLRACE_TERMINATION_LOG": str(folder / "log"),
        "MILLRACE_LOG_LEVEL": "ERROR",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_EC2_METADATA_DISABLED": "true",
        destinations.VARIABLE: destinations.OPEN.as_json(),
        **({"MILLRACE_MODEL_CACHE": str(cache), "MILLRACE_MODEL_DIGEST": digest} if cache else {}),
    }
    command = [sys.executable, "-m", "millrace_services.inference", "fetch"]
    subprocess.run(command, env={**os.environ, **environ}, check=True)


def load(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from millrace_services.inference import session\n"
        "session.load(Path(sys.argv[1]), 'cpu', 2)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def seconds(work: Callable[[], None]) -> float:
    os.sync()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> int:
    """Prints the figures; returns 1 beyond the limit."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, cache = folder / "m.onnx", folder / "cache"
        cache.mkdir()
        write_model(source)
        command = [sys.executable, __file__, str(source)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as store:
            assert store.stdout is not None
            return figures(int(store.stdout.readline()), folder, source, cache)


def figures(port: int, folder: Path, source: Path, cache: Path) -> int:
    found: dict[str, list[float]] = {name: [] for name in ("network", "disk", "fetch", "cached", "load")}
    target = folder / "pod"
    for _ in range(ROUNDS):
        for path in (folder / "copy", *target.glob("*")):
            path.unlink(missing_ok=True)
        found["network"].append(seconds(lambda: network(port)))
        found["disk"].append(seconds(lambda: disk(source, folder / "copy")))
        (folder / "copy").unlink()
        target.mkdir(exist_ok=True)
        found["fetch"].append(seconds(lambda: fetch(port, target, None, "")))
        digest = (target / "model.onnx.digest").read_text()
        (target / "model.onnx").unlink()
        if not list(cache.iterdir()):
            fetch(port, target, cache, digest)
            (target / "model.onnx").unlink()
        found["cached"].append(seconds(partial(fetch, port, target, cache, digest)))
        found["load"].append(seconds(lambda: load(target / "model.onnx")))
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        print(f"{name:<8} {medians[name]:6.2f} s   ({min(values):.2f} to {max(values):.2f} in {ROUNDS} runs)")
    ratio = medians["fetch"] / max(medians["network"], medians["disk"])
    print(f"fetch / the slower of network and disk: {ratio:.2f}   limit {LIMIT}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve(Path(sys.argv[1]))
        sys.exit(0)
    sys.exit(main())
