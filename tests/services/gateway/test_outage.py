"""A registry that is away, or has lost what it knew, costs no read, also where the gateway restarts meanwhile."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.features.definition import definition
from millrace_core.features.online import kept_definitions
from tests.builders import feature_view
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Store
from tests.told_registry import tell

pytestmark = pytest.mark.slow

VIEW = feature_view("stats").having("metadata.namespace", "shop").build()
BODY = {"features": ["stats:visits"], "entities": {"user_id": [1]}, "project": "shop"}


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    running = Store(tmp_path)
    running.start()
    compiled = definition.compile("stats", "shop", FeatureViewSpec.model_validate(VIEW["spec"]))
    running.write(compiled, {"user_id": 1}, time.time_ns() // 1000 - 1_000_000, [12.5, 3])
    yield running
    running.stop()


class Platform:
    """A registry and gateways over one store."""

    def __init__(self, start: StartService, folder: Path, store: Store) -> None:
        self._start = start
        self._folder = folder
        self._store = store
        self._registry_port = free_port()
        self.registry_url = f"http://127.0.0.1:{self._registry_port}"
        self.registry: RunningService

    def start_registry(self, database: str) -> None:
        url = f"sqlite:///{self._folder}/{database}.db"
        settings = {"MILLRACE_PORT": str(self._registry_port), "MILLRACE_DATABASE_URL": url}
        self.registry = self._start("-m", "millrace_services.registry", **settings)

    def stop_registry(self) -> None:
        self.registry.process.kill()
        self.registry.exit_code()

    def start_gateway(self) -> RunningService:
        return self._start(
            "-m",
            "millrace_services.gateway",
            MILLRACE_REGISTRY_URL=self.registry_url,
            MILLRACE_STORE_URL=self._store.url,
            MILLRACE_REFRESH_SECONDS="0.05",
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def platform(start: StartService, tmp_path: Path, own_store: Store) -> Platform:
    made = Platform(start, tmp_path, own_store)
    made.start_registry("first")
    tell(made.registry_url, VIEW)
    return made


def until(holds: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def read(gateway: RunningService) -> tuple[int, Any]:
    answer = httpx.post(f"{gateway.url}/get-online-features", json=BODY)
    body = answer.json()
    return answer.status_code, body["results"][1]["values"] if answer.status_code == 200 else body


@contextmanager
def reading(gateway: RunningService) -> Iterator[Counter[str]]:
    """Reads by one connection after the other, until the block ends; counts the answers."""
    seen: Counter[str] = Counter()
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            try:
                seen[str(read(gateway))] += 1
            except httpx.HTTPError as error:
                seen[repr(error)] += 1
            stop.wait(0.005)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def ready(gateway: RunningService) -> bool:
    return bool(httpx.get(f"{gateway.url}/health/ready").json()["ready"])


GOOD = str((200, [3]))


def test_a_gateway_that_restarts_without_a_registry_is_ready_and_fails_no_read(
    platform: Platform, own_store: Store
) -> None:
    first = platform.start_gateway()
    until(lambda: own_store.client.exists(kept_definitions.KEY))
    with reading(first) as seen:
        until(lambda: seen[GOOD] > 20)
        platform.stop_registry()
        before = seen[GOOD]
        until(lambda: seen[GOOD] > before + 50)
    first.terminate()
    assert first.exit_code() == 0
    second = platform.start_gateway()
    # It listens only once it can answer, so there is no moment in which it would refuse.
    with reading(second) as again:
        assert ready(second)
        until(lambda: again[GOOD] > 50)
        platform.start_registry("first")
        before = again[GOOD]
        until(lambda: again[GOOD] > before + 50)
    assert (set(seen), set(again)) == ({GOOD}, {GOOD})
    unknown = httpx.post(f"{second.url}/get-online-features", json={**BODY, "features": ["other:visits"]})
    assert unknown.status_code == 404


def test_a_view_that_is_not_known_is_no_404_while_there_is_no_registry(platform: Platform) -> None:
    gateway = platform.start_gateway()
    until(lambda: ready(gateway))
    platform.stop_registry()
    body = {**BODY, "features": ["other:visits"]}
    until(lambda: httpx.post(f"{gateway.url}/get-online-features", json=body).status_code == 503)
    push = {"view": "other", "df": {"user_id": [1]}, "to": "online", "project": "shop"}
    assert httpx.post(f"{gateway.url}/push", json=push).status_code == 503


def test_a_registry_that_lost_its_database_costs_no_read_until_the_operator_has_filled_it(
    platform: Platform,
) -> None:
    gateway = platform.start_gateway()
    until(lambda: ready(gateway))
    with reading(gateway) as seen:
        until(lambda: seen[GOOD] > 20)
        platform.stop_registry()
        platform.start_registry("second")
        assert httpx.get(f"{platform.registry_url}/v1/definitions").status_code == 503
        before = seen[GOOD]
        until(lambda: seen[GOOD] > before + 50)
        # One kind after the other, views last: as one that knows nothing of them yet.
        for kind in ("ModelDeployment", "Experiment"):
            httpx.put(f"{platform.registry_url}/v1/catalogue/{kind}", json={"items": []}).raise_for_status()
        tell(platform.registry_url, VIEW, {**VIEW, "metadata": {"name": "more", "namespace": "shop"}})
        body = {**BODY, "features": ["more:visits"]}
        until(lambda: httpx.post(f"{gateway.url}/get-online-features", json=body).status_code == 200)
    assert set(seen) == {GOOD}


def test_another_registry_with_nothing_in_it_takes_nothing_away(platform: Platform) -> None:
    gateway = platform.start_gateway()
    until(lambda: ready(gateway))
    platform.stop_registry()
    platform.start_registry("second")
    tell(platform.registry_url)
    age = "millrace_gateway_definitions_age_seconds "

    def seconds() -> float:
        lines = httpx.get(f"{gateway.url}/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(age)).removeprefix(age))

    until(lambda: "with nothing in it" in gateway.log())
    until(lambda: seconds() > 0.5)
    assert read(gateway) == (200, [3])
    assert ready(gateway)


def test_a_gateway_without_registry_and_copy_is_alive_not_ready_and_sends_readers_away(
    start: StartService, own_store: Store, tmp_path: Path
) -> None:
    platform = Platform(start, tmp_path, own_store)
    gateway = platform.start_gateway()
    assert read(gateway)[0] == 503
    assert httpx.get(f"{gateway.url}/health/live").status_code == 200
    assert not ready(gateway)
    platform.start_registry("first")
    tell(platform.registry_url, VIEW)
    until(lambda: ready(gateway))
    assert read(gateway) == (200, [3])


def test_a_store_that_refuses_the_copy_costs_the_copy_alone(platform: Platform, own_store: Store) -> None:
    own_store.client.execute_command("ACL", "SETUSER", "default", "-set")
    gateway = platform.start_gateway()
    until(lambda: "keeps no copy of the definitions" in gateway.log())
    assert ready(gateway)
    assert read(gateway) == (200, [3])
