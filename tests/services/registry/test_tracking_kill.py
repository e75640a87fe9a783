"""A registry that is killed in the midst of its work has, when it is back, all that it answered."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.running_service import StartService

API = "/api/2.0/mlflow"

pytestmark = pytest.mark.slow


def test_what_was_answered_is_there_after_a_kill_and_no_batch_by_halves(
    start_service: StartService, tmp_path: Path
) -> None:
    settings = {"MILLRACE_DATABASE_URL": f"sqlite:///{tmp_path}/r.db"}
    first = start_service("-m", "millrace_services.registry", **settings)
    answered: list[set[int]] = [set() for _ in range(4)]
    enough = threading.Event()
    with httpx.Client(base_url=first.url) as client:
        runs = [run_of(client) for _ in answered]

    def log(at: int) -> None:
        with httpx.Client(base_url=first.url, timeout=60) as client:
            for step in range(100_000):
                metrics = [{"key": key, "value": step, "timestamp": step, "step": step} for key in ("a", "b")]
                params = [{"key": f"p{step}", "value": "x"}]
                body = {"run_id": runs[at], "metrics": metrics, "params": params}
                try:
                    client.post(f"{API}/runs/log-batch", json=body).raise_for_status()
                except httpx.TransportError:
                    return
                answered[at].add(step)
                if sum(map(len, answered)) > 80:
                    enough.set()

    threads = [threading.Thread(target=log, args=(at,)) for at in range(len(runs))]
    for thread in threads:
        thread.start()
    assert enough.wait(60)
    first.terminate(signal.SIGKILL)
    first.exit_code()
    for thread in threads:
        thread.join()
    second = start_service("-m", "millrace_services.registry", **settings)
    with httpx.Client(base_url=second.url, timeout=60) as client:
        for run_id, steps in zip(runs, answered, strict=True):
            kept = [history(client, run_id, key) for key in ("a", "b")]
            data = client.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]["data"]
            assert kept[0] == kept[1] == {int(each["key"][1:]) for each in data["params"]}
            assert steps <= kept[0]
            assert len(kept[0] - steps) <= 1  # the one whose answer the kill took away
            assert {each["value"] for each in data["metrics"]} == {max(kept[0])}


def run_of(client: httpx.Client) -> str:
    return str(client.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"])


def history(client: httpx.Client, run_id: str, key: str) -> set[int]:
    fields = {"run_id": run_id, "metric_key": key}
    return {each["step"] for each in client.get(f"{API}/metrics/get-history", params=fields).json()["metrics"]}
