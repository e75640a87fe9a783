"""The inference server with its log of predictions beside the same server without, in rounds that alternate.

Prints requests per second and p50/p99 over v2 JSON, a gradient-boosting model of 30 features at one row per request,
and both ratios with their limits (at least 90 % of the rate, at most 1.2 times the p99); then how many of the
predictions are in the lake once the server has ended.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from benchmarks.http_load import LoadSample, free_port, load, median, server, summary
from benchmarks.inference_models import GBC, http_request, write
from millrace_data.evidence import reading
from millrace_data.evidence.lake import Lake
from millrace_data.evidence.reading import Question

RATE: float = 0.90
P99: float = 1.2


def main() -> int:
    """Prints one block per number of connections; returns 1 if a ratio misses its limit or predictions are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder, "lake").as_uri()
        model, rows = write(GBC, Path(folder))
        request = http_request(rows[:1])
        with ExitStack() as stack:
            log = {"uri": lake, "spool": f"{folder}/spool"}
            pids = dict([_start(stack, model, MILLRACE_LOG=json.dumps(log)), _start(stack, model)])
            on, off = pids
            for connections in (1, 16):
                results: dict[int, list[LoadSample]] = {on: [], off: []}
                for number in range(options.rounds):
                    for port in (on, off) if number % 2 else (off, on):
                        results[port].append(load(port, pids[port], request, connections, options.seconds))
                missed += _told(connections, results[on], results[off])
            answered, dropped = (
                _counted(on, name) for name in ("millrace_http_request_seconds_count", "millrace_log_dropped_total")
            )
        now = datetime.now(UTC)
        period = (now - timedelta(days=1), now + timedelta(days=1))
        there = reading.read(Lake(lake, {}), Question("default", "m", *period, ["id"])).num_rows
        print(f"{answered:,.0f} answered, {there:,} in the lake, {dropped:,.0f} dropped")
        missed += there + dropped != answered
    return 1 if missed else 0


def _start(stack: ExitStack, model: Path, **more: str) -> tuple[int, int]:
    """An inference server of the model: its port, and the id of its process."""
    port = free_port()
    environment = {
        "MILLRACE_HOST": "127.0.0.1",
        "MILLRACE_PORT": str(port),
        "MILLRACE_DRAIN_SECONDS": "0",
        "MILLRACE_MODEL_NAME": "m",
        "MILLRACE_MODEL_PATH": str(model),
        "MILLRACE_OUTGOING": '{"open": true}',
        **more,
    }
    return port, stack.enter_context(server(["-m", "millrace_services.inference", "serve"], port, **environment))


def _told(connections: int, on: list[LoadSample], off: list[LoadSample]) -> int:
    rate = statistics.median(mine.rate / theirs.rate for mine, theirs in zip(on, off, strict=True))
    p99 = statistics.median(mine.p99 / theirs.p99 for mine, theirs in zip(on, off, strict=True))
    print(
        f"{connections} connections: {rate:.0%} of the rate (limit {RATE:.0%}), {p99:.2f} times the p99 (limit {P99})"
    )
    print(f"  with the log     {summary(median(on))}")
    print(f"  without          {summary(median(off))}")
    return (rate < RATE) + (p99 > P99)


def _counted(port: int, name: str) -> float:
    """The sum of a counter over its labels; of requests only predictions."""
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    found = [
        line for line in lines if line.startswith(name + "{") and ("route=" not in line or 'route="infer"' in line)
    ]
    return sum(float(line.rpartition(" ")[2]) for line in found)


if __name__ == "__main__":
    sys.exit(main())
