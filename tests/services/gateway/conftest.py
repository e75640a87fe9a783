"""A gateway, a registry and a store, all real, on free ports of 127.0.0.1."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from millrace_core.base import destinations
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout
from millrace_local.stack.launch import programs
from tests.builders import feature_view
from tests.running_service import RunningService, StartService, start_service, starting
from tests.told_registry import tell

__all__ = ["start_service"]

# There is none; or the registry has said nothing yet.
UNKNOWN = (404, 503)


class Store:
    """A Valkey that tests may stop and start again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}"
        self.client = redis.Redis.from_url(self.url)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--bind", "127.0.0.1", "--port", str(self._port), "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen([programs().store, *options], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while True:
            try:
                self.client.ping()
            except redis.RedisError:
                assert time.monotonic() < until
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def write(self, definition: Definition, entity: dict[str, Any], event_time: int, values: list[Any]) -> None:
        """Writes one row as the materialize job would."""
        [key] = keys.store_keys(definition, {name: [value] for name, value in entity.items()})
        assert key is not None
        layout = Layout.of(definition)
        self.client.set(key, layout.encode(event_time, None, values))


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    running = Store(tmp_path_factory.mktemp("store"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Starts server processes that end with the test: a gateway that looks often is never idle."""
    with starting(tmp_path_factory.mktemp("services")) as function:
        yield function


@pytest.fixture(scope="package")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartService]:
    """Starts those of all tests here."""
    with starting(tmp_path_factory.mktemp("services")) as function:
        yield function


@pytest.fixture(scope="package")
def registry(shared: StartService, tmp_path_factory: pytest.TempPathFactory) -> RunningService:
    database = tmp_path_factory.mktemp("registry") / "registry.db"
    return shared("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{database}")


@pytest.fixture(scope="package")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the gateway's log, and of the lake beside it."""
    return tmp_path_factory.mktemp("evidence")


@pytest.fixture(scope="package")
def gateway(shared: StartService, registry: RunningService, store: Store, evidence: Path) -> RunningService:
    return a_gateway(shared, registry, store, evidence, evidence / "log")


def a_gateway(start: StartService, registry: RunningService, store: Store, evidence: Path, log: Path) -> RunningService:
    return start(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_OUTGOING=destinations.OPEN.as_json(),
        MILLRACE_PROJECT="rides",
        MILLRACE_REFRESH_SECONDS="0.1",
        MILLRACE_STORE_TIMEOUT_SECONDS="0.5",
        MILLRACE_EVIDENCE_LOG=str(log),
        MILLRACE_LAKE_URI=(evidence / "lake").as_uri(),
    )


Publish = Callable[..., None]


_published = count()


@pytest.fixture
def publish(gateway: RunningService, registry: RunningService) -> Publish:
    """Makes the registry hold exactly these objects and, unless ``awaited`` is false, the gateway know them."""

    def put(*documents: dict[str, Any], awaited: bool = True) -> None:
        # The gateway looks every 0.1 s; it knows the others once it knows a view that was never there before.
        marker = feature_view(f"marker-{next(_published)}").build()
        marker["metadata"] |= {"namespace": "markers", "uid": marker["metadata"]["name"], "generation": 1}
        tell(registry.url, *documents, marker)
        body = {
            "features": [f"{marker['metadata']['name']}:visits"],
            "entities": {"user_id": [1]},
            "project": "markers",
        }
        until = time.monotonic() + 60
        while awaited and httpx.post(f"{gateway.url}/get-online-features", json=body).status_code in UNKNOWN:
            assert time.monotonic() < until
            time.sleep(0.02)

    return put
