"""Requests share runs of a real server's model, and nobody is harmed by others' rows or crashes."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

LOWEST = -(2**31)


def divided(client: httpx.Client, a: list[int], b: int) -> httpx.Response:
    inputs = [
        {"name": name, "datatype": "INT32", "shape": [len(a)], "data": values}
        for name, values in (("a", a), ("b", [b] * len(a)))
    ]
    return client.post("/v2/models/m/infer", json={"inputs": inputs})


@contextmanager
def clients(url: str, number: int) -> Iterator[list[str]]:
    """Clients that ask without a break, each for its own rows; yields what was wrong with an answer."""
    wrong: list[str] = []
    ended = threading.Event()

    def ask(seed: int) -> None:
        draw = random.Random(seed)
        with httpx.Client(base_url=url, timeout=60) as client:
            while not ended.is_set():
                values = [draw.randrange(1000) * 7 for _ in range(draw.randrange(1, 3))]
                try:
                    answer = divided(client, values, 7)
                except httpx.TransportError:
                    continue  # the process ended meanwhile
                if answer.status_code != 200 or answer.json()["outputs"][0]["data"] != [v / 7 for v in values]:
                    wrong.append(f"{values}: {answer.text}")

    with ThreadPoolExecutor(number) as pool:
        asking = [pool.submit(ask, seed) for seed in range(number)]
        try:
            yield wrong
        finally:
            ended.set()
            for each in asking:
                each.result()


def shared_runs(server) -> int:
    """Runs of several requests."""
    counts = {}
    for line in httpx.get(f"{server.url}/metrics").text.splitlines():
        if line.startswith("millrace_inference_batch_requests_bucket") and ('le="1.0"' in line or 'le="+Inf"' in line):
            counts["+Inf" in line] = float(line.rpartition(" ")[2])
    return int(counts[True] - counts[False])


def test_requests_at_once_share_runs_and_each_gets_its_own_rows(serve, slow_quotient):
    server = serve(slow_quotient, MILLRACE_BATCH_MAX_ROWS="16")
    assert httpx.get(f"{server.url}/v2/models/m").json()["parameters"]["batching"] == "up to 16 rows"
    with clients(server.url, 6) as wrong:
        while shared_runs(server) < 3:
            assert not wrong
    assert not wrong


def test_of_a_server_that_is_told_so_every_request_runs_alone(serve, slow_quotient):
    server = serve(slow_quotient, MILLRACE_BATCH_MAX_ROWS="1")
    assert httpx.get(f"{server.url}/v2/models/m").json()["parameters"]["batching"].startswith("never: ")
    with clients(server.url, 6) as wrong, httpx.Client(base_url=server.url, timeout=60) as client:
        for _ in range(20):
            assert divided(client, [7], 7).status_code == 200
    assert not wrong
    assert shared_runs(server) == 0


@pytest.mark.slow
def test_who_shared_a_run_with_an_input_that_ends_the_process_is_served_again_and_that_never(serve, slow_quotient):
    server = serve(slow_quotient)
    with clients(server.url, 6) as wrong, httpx.Client(base_url=server.url, timeout=60) as poisoner:
        while shared_runs(server) == 0:
            assert not wrong
        refused = None
        while refused is None:
            try:
                refused = divided(poisoner, [LOWEST], -1)
            except httpx.TransportError:
                continue
            # The next process is not there yet; or four rows at once were divided, which ends none.
            if refused.status_code in (503, 200):
                refused = None
        assert (refused.status_code, refused.json()["reason"]) == (400, "EndedTheProcess")
        while shared_runs(server) == 0:
            assert all('"NotReady"' in each for each in wrong)
    assert all('"NotReady"' in each for each in wrong)
    crashes = server.log().count("was ended by")
    assert 1 <= crashes <= 2, "once beside others, once alone"
