"""The memory of the inference server over many requests, which is to stay where it is.

Prints the resident memory after each tenth of them, of JSON and of binary tensors in turns, and how often the garbage
collector ran. Limit: from the second tenth on it grows by no more than a hundredth.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

import httpx
import uvloop

from benchmarks.figures import beside, machine
from benchmarks.http_load import children, free_port, keep_busy, server
from benchmarks.inference_models import GBC, http_request, write

_GROWTH = 1.01
_CONNECTIONS = 16


def main() -> int:
    """Prints the table; returns 1 if the limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        path, rows = write(GBC, Path(folder))
        port = free_port()
        environment = {
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_PORT": str(port),
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_MODEL_NAME": "m",
            "MILLRACE_MODEL_PATH": str(path),
        }
        requests = [http_request(rows[:1]), http_request(rows, binary=True)]
        with server(["-m", "millrace_services.inference", "serve"], port, **environment) as pid:
            [child] = children(pid)
            print(f"{resident(child):.1f} MB before the first request, {collections(port)} collections")
            found, sent = [], 0
            for tenth in range(10):
                while sent < (tenth + 1) * options.requests / 10:
                    for request in requests:
                        took, _ = uvloop.run(keep_busy(port, request, _CONNECTIONS, 1.0))
                        sent += len(took)
                found.append(resident(child))
                print(f"{found[-1]:.1f} MB after {sent:,} requests, {collections(port)} collections", flush=True)
    growth = max(found[1:]) / found[1]
    met = growth <= _GROWTH
    print(f"    {beside(f'{growth:.3f}', f'{_GROWTH:g}', met=met)} times the memory after the second tenth")
    return not met


def resident(pid: int) -> float:
    """The memory that a process has now, in MB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def collections(port: int) -> str:
    """How often the collector looked at each generation of objects."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return "/".join(re.findall(r'^python_gc_collections_total\{generation="\d"\} (\d+)', text, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
