"""Sentinels and clusters with TLS and users: a gateway reads and a run writes while servers die and slots move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from millrace import FeatureStore
from millrace_core.base.errors import MillraceError, ReportError, RetryError
from millrace_core.features.online import store_url
from millrace_data.online.client import open_client
from millrace_data.online.resp import KeyGroup
from millrace_data.online.slots import slot
from millrace_data.online.store import Store
from millrace_data.online.store_errors import StoreError
from tests.builders import feature_view
from tests.data.online.secured import certificate, secured
from tests.data.online.test_cluster import move
from tests.data.online.topologies import Cluster, Guard, cluster, under_sentinels, until
from tests.running_service import RunningService, StartService
from tests.told_registry import tell

ENTITIES = 4_000
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAMPLE = [1, 2, 3, 1000, ENTITIES - 1]


@dataclass
class Place:
    """Secured servers, and what happens to them while a run writes."""

    url: str
    guard: Guard
    harm: Callable[[], None]
    folder: Path

    def entered_by(self, user: str) -> str:
        return self.url.replace("writer:writer", f"{user}:{user}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return certificate(tmp_path_factory.mktemp("certificates"), "server")


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory, authority: tuple[str, str]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("sentinels")
    guard = secured(*authority, "+info")
    guard = replace(guard, query=f"{guard.query}&sentinel_username=guard&sentinel_password=guard%40")
    with under_sentinels(folder, 2, guard) as (url, (master, replica), _):

        def harm() -> None:
            until(lambda: master.client.dbsize() == replica.client.dbsize())
            master.kill()

        yield Place(url, guard, harm, folder)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory, authority: tuple[str, str]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("cluster")
    guard = secured(*authority, "+cluster|slots")
    with cluster(folder, guard) as running:
        yield Place(running.url, guard, lambda: _moved_and_lost(running), folder)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, start_service: StartService) -> RunningService:
    database = tmp_path_factory.mktemp("registry") / "registry.db"
    return start_service("-m", "millrace_services.registry", MILLRACE_DATABASE_URL=f"sqlite:///{database}")


def _moved_and_lost(running: Cluster) -> None:
    """A slot moves to another node, and a node dies whose replica takes its place."""
    lost, *others = running.nodes
    for _ in move(running, slot(b"{1}"), *others):
        pass
    replica = running.join()
    replica.client.execute_command("CLUSTER REPLICATE", running.id(lost))
    until(lambda: replica.client.info("replication").get("master_link_status") == "up")
    lost.kill()


@pytest.mark.parametrize("kind", ["sentinels", "nodes"])
@pytest.mark.parametrize(
    ("wrong", "told", "reason"),
    [
        ("authority", "certificate verify failed", "StoreUntrusted"),
        ("name", "certificate verify failed: Hostname mismatch", "StoreUntrusted"),
        ("password", "WRONGPASS|invalid username-password", "StoreDenied"),
    ],
)
async def test_what_is_wrong_in_a_url_is_said_at_once(
    kind: str, wrong: str, told: str, reason: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Place = request.getfixturevalue(kind)
    url = place.url
    if wrong == "authority":
        other, _ = certificate(tmp_path, "other")
        url = url.replace(store_url.parse(url).tls.ca_certs, other)  # type: ignore[union-attr]
    elif wrong == "name":
        url = url.replace("@127.0.0.1:", "@127.1:").replace(",127.0.0.1:", ",127.1:")
    else:
        url = url.replace("writer%40", "nobody")
    client = open_client(store_url.parse(url), 3.0)
    with pytest.raises(StoreError, match=told):
        await client.mget([KeyGroup(b"default:", [b"x"])])
    client.close()
    with pytest.raises(MillraceError, match=told) as caught:
        Store(url).run_ids()
    assert isinstance(caught.value, ReportError)
    assert caught.value.reason == reason
    assert "nobody" not in str(caught.value)


async def test_a_password_that_sentinels_do_not_take_is_said(sentinels: Place) -> None:
    url = sentinels.url.replace("sentinel_password=guard%40", "sentinel_password=nobody")
    client = open_client(store_url.parse(url), 3.0)
    with pytest.raises(StoreError, match="a sentinel does not answer: WRONGPASS"):
        await client.mget([KeyGroup(b"default:", [b"x"])])
    client.close()
    with pytest.raises(ReportError, match="a sentinel does not answer: invalid username-password") as caught:
        Store(url).run_ids()
    assert (caught.value.reason, "nobody" in str(caught.value)) == ("StoreDenied", False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sentinels", "nodes"])
def test_what_servers_suffer_during_a_run_costs_time_only(
    kind: str, request: pytest.FixtureRequest, start_service: StartService, registry: RunningService
) -> None:
    place: Place = request.getfixturevalue(kind)
    views = place.folder / "views.yaml"
    view = feature_view("stats", f"file://{place.folder}/events/").build()
    views.write_text(yaml.safe_dump(view))
    store = FeatureStore.from_files([views], online=place.entered_by("writer"))
    write_events(place.folder, 1)
    assert store.materialize("stats", NOON).written == ENTITIES
    tell(registry.url, {**view, "metadata": {"name": "stats", "namespace": "default", "uid": "1"}})
    gateway = start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=place.entered_by("reader"),
        MILLRACE_REFRESH_SECONDS="0.1",
    )
    until(lambda: answered(gateway) == [1.0] * len(SAMPLE))
    write_events(place.folder, 2)
    with reading(gateway) as seen:
        run_in_spite_of(store, place.harm)
    assert set(seen) <= {1.0, 2.0}
    assert answered(gateway) == [2.0] * len(SAMPLE)
    verdict = store.verify("stats", 1_000)
    assert (verdict.rows, verdict.different, verdict.ahead, verdict.waiting) == (1_000, 0, 0, 0)


def write_events(folder: Path, version: int) -> None:
    (folder / "events").mkdir(exist_ok=True)
    moment = NOON + timedelta(hours=version - 1)
    columns: dict[str, Any] = {
        "user_id": np.arange(ENTITIES),
        "event_timestamp": pa.array([moment] * ENTITIES, pa.timestamp("us", "UTC")),
        "amount": np.full(ENTITIES, float(version)),
        "visits": np.arange(ENTITIES),
    }
    pq.write_table(pa.table(columns), folder / "events" / f"{version}.parquet", row_group_size=ENTITIES // 20)


def run_in_spite_of(store: FeatureStore, harm: Callable[[], None]) -> None:
    """A run during which harm is done, and, where it fails, others until one ends well, as a Job's controller does."""
    harmed = False

    def progress(rows: int, done: float) -> None:
        nonlocal harmed
        if not harmed:
            harmed = True
            harm()

    for _ in range(10):
        try:
            store.materialize("stats", NOON + timedelta(hours=1), progress=progress)
        except RetryError:
            assert harmed
        else:
            return
    raise AssertionError("no run ends well")


def answered(gateway: RunningService) -> list[float | None]:
    """The sample's amounts; nothing while the store is away."""
    asked = {"features": ["stats:amount"], "entities": {"user_id": SAMPLE}}
    answer = httpx.post(f"{gateway.url}/get-online-features", json=asked)
    if answer.status_code != 200:
        assert answer.status_code in (404, 503), answer.text
        return []
    body = answer.json()
    amounts = body["results"][body["metadata"]["feature_names"].index("amount")]
    return list(amounts["values"])


@contextmanager
def reading(gateway: RunningService) -> Iterator[list[float | None]]:
    """Reads again and again; every value that was answered, once the block has ended."""
    seen: list[float | None] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.extend(answered(gateway))
            time.sleep(0.01)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
