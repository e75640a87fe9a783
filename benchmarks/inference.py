"""The inference server beside a hand-written one, a bare echo and in-process ``session.run``, in one run.

Three models over v2, JSON and binary: gradient boosting on 30 features, a perceptron 512-1024-1024-10, and a wide one
of some milliseconds a run. Prints requests per second and p50/p99, medians of rounds in which the servers take turns,
each ratio beside its limit; and what comes of twice as many requests as can be answered. MLServer's and KServe's
servers take their turns where ``make bench-serving-env`` has been.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

from benchmarks.figures import beside, machine
from benchmarks.http_load import LoadSample, free_port, load, median, overload, server, summary
from benchmarks.inference_models import GBC, MLP, WIDE, Rows, http_request, write
from benchmarks.serving_env import PEERS

HERE = Path(__file__).parent
# Port and process id by name.
Servers = dict[str, tuple[int, int]]
OURS, HAND, ECHO = "millrace", "hand-written", "bare echo"


class Case(NamedTuple):
    """What is measured: of which model, rows of a request, connections; and the limits, None where there is none.

    ``binary`` tensors are not for the hand-written server, nor for those of others.

    ``rate`` is of the hand-written server's requests per second, ``in_process`` of the rows per second of bare runs
    with as many rows, ``added`` milliseconds over the echo's median.
    """

    model: str
    rows: int
    connections: int
    rate: float | None = None
    in_process: float | None = None
    added: float | None = None
    binary: bool = False

    def described(self) -> str:
        """Its first line."""
        form = "binary" if self.binary else "JSON"
        return f"{self.model} batch {self.rows}, {self.connections} connections, {form}"


CASES = (
    Case(GBC, 1, 1, rate=0.80, added=0.2),
    Case(GBC, 1, 16, rate=0.80),
    Case(GBC, 1, 1, added=0.15, binary=True),
    Case(GBC, 32, 16),
    Case(MLP, 1, 1, rate=0.80),
    Case(MLP, 1, 16, rate=1.0),
    Case(MLP, 32, 16),
    Case(MLP, 32, 16, in_process=0.70, binary=True),
    Case(WIDE, 1, 16, rate=1.0),
    Case(WIDE, 32, 16, in_process=0.95),
    Case(WIDE, 32, 16, in_process=0.95, binary=True),
)
_P99 = 2.0  # of the hand-written server's
_GOODPUT = 0.9  # of the peak, at twice the load


def in_process(model: Path, rows: Rows, seconds: float) -> float:
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


def started(stack: ExitStack, model: Path) -> Servers:
    """The servers of a model."""
    ports = {name: free_port() for name in (OURS, HAND, ECHO)}
    environment = {
        "MILLRACE_HOST": "127.0.0.1",
        "MILLRACE_PORT": str(ports[OURS]),
        "MILLRACE_DRAIN_SECONDS": "0",
        "MILLRACE_MODEL_NAME": "m",
        "MILLRACE_MODEL_PATH": str(model),
        "MILLRACE_QUEUE_TIMEOUT": "5s",  # on a busy machine a second passes soon
    }
    made = {
        OURS: server(["-m", "millrace_services.inference", "serve"], ports[OURS], **environment),
        HAND: server([str(HERE / "handwritten_inference.py"), str(model), str(ports[HAND])], ports[HAND]),
        ECHO: server([str(HERE / "handwritten_echo.py"), str(ports[ECHO])], ports[ECHO]),
    }
    for name, peer in PEERS.items():
        if peer.python.exists() and model.stem != WIDE:
            own = [free_port() for _ in range(peer.ports)]
            ports[name] = own[0]
            made[name] = server([str(peer.script), str(model), *map(str, own)], own[0], python=str(peer.python))
    return {name: (ports[name], stack.enter_context(each)) for name, each in made.items()}


def measure(case: Case, servers: Servers, path: Path, rows: Rows, options: argparse.Namespace) -> int:
    """Prints one block; returns how many limits were missed."""
    request = http_request(rows[: case.rows], binary=case.binary)
    taking = {name: servers[name] for name in servers if name in (OURS, ECHO) or not case.binary}
    samples: dict[str, list[LoadSample]] = {name: [] for name in taking}
    bare = []
    for _ in range(options.rounds):
        for name, (port, pid) in taking.items():
            samples[name].append(load(port, pid, request, case.connections, options.seconds))
        bare.append(in_process(path, rows[: case.rows], options.seconds / 2))
    print(case.described())
    for name, loads in samples.items():
        print(f"  {name:<13} {summary(median(loads))}")
    print(f"  {'session.run':<13} {statistics.median(bare):>7,.0f}/s in process", flush=True)
    return beside_limits(case, samples, bare)


def beside_limits(case: Case, samples: dict[str, list[LoadSample]], bare: list[float]) -> int:
    """Prints ratios, each the median over rounds; returns how many limits were missed."""

    def ratio(of: str, figure: str) -> float:
        pairs = zip(samples[OURS], samples[of], strict=True)
        return statistics.median(getattr(our, figure) / getattr(their, figure) for our, their in pairs)

    inside = statistics.median(our.rate / runs for our, runs in zip(samples[OURS], bare, strict=True))
    added = statistics.median(our.p50 - echo.p50 for our, echo in zip(samples[OURS], samples[ECHO], strict=True))
    figures = [
        ("of the in-process rate", inside, case.in_process, 1),
        ("ms over the echo's median", added, case.added, -1),
    ]
    if HAND in samples:
        figures += [
            ("of the hand-written rate", ratio(HAND, "rate"), case.rate, 1),
            ("times the hand-written p99", ratio(HAND, "p99"), _P99 if case.rate else None, -1),
            ("times the hand-written processor time", ratio(HAND, "cpu"), None, -1),
        ]
    figures += [(f"times the rate of {name}", ratio(name, "rate"), None, 1) for name in PEERS if name in samples]
    missed = 0
    for text, figure, limit, sign in figures:
        shown = f"{figure:.2f}"
        if limit is not None:
            met = figure * sign >= limit * sign
            missed += not met
            shown = beside(shown, f"{limit:g}", met=met)
        print(f"    {shown} {text}")
    return missed


def flood(port: int, rows: Rows, seconds: float) -> int:
    """Twice as many requests as there can be answers; returns how many limits were missed."""
    request = http_request(rows[:1])
    # As many as may wait: the fullest runs that there can be.
    peak = overload(port, request, 250, float("inf"), seconds).good
    found = overload(port, request, 1000, 2 * peak, seconds)
    good = found.good / peak
    met = good >= _GOODPUT and found.other == 0
    print(f"{WIDE} batch 1, 1,000 connections at twice the peak of {peak:,.0f}/s")
    print(f"  {found.good:,.0f}/s answered, {found.shed:,.0f}/s shed by 429, {found.other:,.0f}/s other")
    print(f"    {beside(f'{good:.2f}', f'{_GOODPUT:g}', met=met)} of the peak; slowest answer {found.slowest:.2f} s")
    return not met


def main() -> int:
    """Prints one block per case; returns 1 if a limit was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.6, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", nargs="*", default=[GBC, MLP, WIDE])
    options = parser.parse_args()
    missed = 0
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            path, rows = write(name, Path(folder))
            with ExitStack() as stack:
                servers = started(stack, path)
                for case in CASES:
                    if case.model == name:
                        missed += measure(case, servers, path, rows, options)
                if name == WIDE:
                    missed += flood(servers[OURS][0], rows, 4 * options.seconds)
    print(machine())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
