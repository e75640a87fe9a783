"""Tracking beside MLflow's own server: batches of 1,000 metrics, reads, searches of many runs, a long history.

Prints rates and p99 of both, in rounds that alternate, with their limits (at least five times the rate, p99 at most a
third; 200 batches a second; 1,000 reads of a model a second), then a page of a search over ``--runs`` runs of twenty
metrics (100 ms) and a run of ``--points`` points with its history, downsampled (300 ms). Needs ``make mlflow-env``;
without it there is no second server.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from benchmarks.http_load import free_port, server
from benchmarks.mlflow_env import folder
from millrace_services.registry.database import Database
from millrace_services.registry.tracking.experiments import Experiments
from millrace_services.registry.tracking_tables import experiments, run_metrics, tracked_runs

API: Final = "/api/2.0/mlflow"
TIMES: Final = 5.0
P99: Final = 1 / 3
BATCHES: Final = 200.0
READS: Final = 1000.0
PAGE: Final = 100.0
OPENED: Final = 300.0
MLFLOW: Final = "3.17.2"
METRICS: Final = 20


class Figures(NamedTuple):
    """Requests per second, and the 99th percentile of their milliseconds."""

    rate: float
    p99: float


def measured(url: str, seconds: float, clients: int, ask: Callable[[httpx.Client, int], httpx.Response]) -> Figures:
    """What ``clients`` threads get answered, each sending its next request when the last is answered."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    def work(client_number: int) -> None:
        number = client_number
        with httpx.Client(base_url=url, timeout=60) as client:
            while (began := time.perf_counter()) < until:
                answer = ask(client, number)
                assert answer.status_code == 200, answer.text
                took.append(time.perf_counter() - began)
                number += clients

    threads = [threading.Thread(target=work, args=(at,)) for at in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Figures(len(took) / seconds, statistics.quantiles(took, n=100)[98] * 1000 if len(took) > 1 else 0.0)


def batches(url: str, seconds: float) -> Figures:
    """``log-batch`` of 1,000 metrics, whose bodies are ready before."""
    with httpx.Client(base_url=url, timeout=60) as client:
        run = client.post(f"{API}/runs/create", json={"experiment_id": "0", "start_time": 1}).json()["run"]["info"]
    head = json.dumps({"run_id": run["run_id"]})[:-1].encode()
    keys = [f"metric {at}" for at in range(50)]
    json_header = {"content-type": "application/json"}

    def ask(client: httpx.Client, number: int) -> httpx.Response:
        step = number * 20
        items = b",".join(
            b'{"key":"%s","value":%d.5,"timestamp":%d,"step":%d}' % (keys[at % 50].encode(), at, step, step + at // 50)
            for at in range(1000)
        )
        return client.post(f"{API}/runs/log-batch", content=head + b',"metrics":[' + items + b"]}", headers=json_header)

    return measured(url, seconds, 4, ask)


def reads(url: str, seconds: float) -> Figures:
    """``registered-models/get``, which clients send before nearly everything."""
    return measured(url, seconds, 4, lambda client, _: client.get(f"{API}/registered-models/get", params={"name": "m"}))


@contextmanager
def mlflow_server(home: Path) -> Iterator[str]:
    """MLflow's own, over SQLite, with as many workers as it has by itself."""
    port = free_port()
    command = [folder(MLFLOW) / "bin" / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{home}/m.db", "--artifacts-destination", f"{home}/files"]
    environ = {**os.environ, "PATH": f"{folder(MLFLOW)}/bin:{os.environ['PATH']}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    process = subprocess.Popen(
        command, cwd=home, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def fill(url: str, runs: int, points: int) -> None:
    """Runs with twenty metrics each, and one run whose metric has many points, written past the server."""
    database = Database(url)
    Experiments(database, lambda: 1).ensure_default()
    with database.writing() as connection:
        location = {"artifact_location": "mlflow-artifacts:/9", "lifecycle": "active", "created": 1, "updated": 1}
        connection.execute(experiments.insert(), [{"id": 9, "name": "many", **location}])
        for start in range(0, runs, 5000):
            numbers = range(start, min(start + 5000, runs))
            fixed = {"experiment": 9, "user_id": "", "status": "FINISHED", "artifact_uri": "", "lifecycle": "active"}
            rows = [
                {"id": at + 1000, "run_id": f"{at:032x}", "name": f"r{at}", "start_time": at, **fixed} for at in numbers
            ]
            connection.execute(tracked_runs.insert(), rows)
            last = [(at + 1000, f"m{key}", (at * 7919 + key) % runs / runs) for at in numbers for key in range(METRICS)]
            connection.exec_driver_sql(
                "INSERT INTO run_metrics (run, key, value, step, timestamp) VALUES (?, ?, ?, 1, 1)", last
            )
        long = {"id": 999, "run_id": "f" * 32, "name": "long", "start_time": 1, **fixed}
        connection.execute(tracked_runs.insert(), [long])
        metric = {"id": 10**8, "run": 999, "key": "loss", "value": 0.0, "step": points, "timestamp": points}
        connection.execute(run_metrics.insert(), [metric])
        for start in range(0, points, 50_000):
            many = [(10**8, at, at, float(at)) for at in range(start, min(start + 50_000, points))]
            connection.exec_driver_sql(
                "INSERT INTO metric_points (metric, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, 0)", many
            )
    database.close()


def searches(url: str) -> None:
    """Prints how long pages of searches take, and a run with a long history."""
    queries = {
        "newest": {},
        "metrics.m1 > 0.5": {"filter": "metrics.m1 > 0.5"},
        "metrics.m1 > 0.999 and metrics.m2 > 0.5": {"filter": "metrics.m1 > 0.999 AND metrics.m2 > 0.5"},
        "ordered by metrics.m3": {"order_by": ["metrics.m3 DESC"]},
        "metrics.m1 > 0.5, ordered by metrics.m3": {"filter": "metrics.m1 > 0.5", "order_by": ["metrics.m3 DESC"]},
    }
    with httpx.Client(base_url=url, timeout=60) as client:
        for name, query in queries.items():
            body = {"experiment_ids": ["9"], "max_results": 100, **query}
            _print_time(f"search: {name}", lambda body=body: client.post(f"{API}/runs/search", json=body), PAGE)

        def open_run() -> httpx.Response:
            client.get(f"{API}/runs/get", params={"run_id": "f" * 32}).raise_for_status()
            fields = {"run_ids": "f" * 32, "metric_key": "loss", "max_results": 2500}
            return client.get(f"{API}/metrics/get-history-bulk-interval", params=fields)

        _print_time("a run and its long history", open_run, OPENED)


def _print_time(name: str, ask: Callable[[], Any], limit: float) -> None:
    took = []
    for _ in range(7):
        began = time.perf_counter()
        ask().raise_for_status()
        took.append((time.perf_counter() - began) * 1000)
    print(f"{name}: {statistics.median(took):.0f} ms (limit {limit:.0f})", flush=True)


def main() -> int:
    """Runs the comparison, then the searches; returns 1 where a limit is missed."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=5)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--runs", type=int, default=100_000)
    options.add_argument("--points", type=int, default=1_000_000)
    given = options.parse_args()
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{home}/r.db"
        port = free_port()
        environ = {"MILLRACE_DATABASE_URL": url, "MILLRACE_DRAIN_SECONDS": "0", "MILLRACE_HOST": "127.0.0.1"}
        environ["MILLRACE_PORT"] = str(port)
        if given.runs:
            fill(url, given.runs, given.points)
        stack.enter_context(server(["-m", "millrace_services.registry"], port, "/health/ready", **environ))
        servers = {"millrace": f"http://127.0.0.1:{port}"}
        if (folder(MLFLOW) / "bin" / "mlflow").exists():
            servers["mlflow"] = stack.enter_context(mlflow_server(home))
        for each in servers.values():
            httpx.post(f"{each}{API}/registered-models/create", json={"name": "m"}).raise_for_status()
        missed = 0
        for name, work, least in (("batches of 1,000", batches, BATCHES), ("reads of a model", reads, READS)):
            found: dict[str, list[Figures]] = {each: [] for each in servers}
            for _ in range(given.rounds):
                for each, address in servers.items():
                    found[each].append(work(address, given.seconds))
            middle = {
                each: Figures(*(statistics.median(figures) for figures in zip(*rounds, strict=True)))
                for each, rounds in found.items()
            }
            missed += _print_comparison(name, middle, least)
        if given.runs:
            searches(servers["millrace"])
    return min(missed, 1)


def _print_comparison(name: str, found: dict[str, Figures], least: float) -> int:
    ours = found["millrace"]
    print(f"{name}: {ours.rate:.0f}/s (limit {least:.0f}), p99 {ours.p99:.0f} ms", flush=True)
    missed = ours.rate < least
    if "mlflow" in found:
        theirs = found["mlflow"]
        rate, p99 = ours.rate / theirs.rate, ours.p99 / theirs.p99
        print(f"  mlflow {theirs.rate:.0f}/s, p99 {theirs.p99:.0f} ms", flush=True)
        print(f"  rate {rate:.1f} times (limit {TIMES:.0f}), p99 {p99:.2f} of it (limit {P99:.2f})", flush=True)
        missed |= rate < TIMES or p99 > P99
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
