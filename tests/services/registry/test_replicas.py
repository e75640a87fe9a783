"""Several registries over one PostgreSQL are one registry, also where one is killed in the midst of its work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.builders import feature_view
from tests.running_service import RunningService, StartService
from tests.told_registry import tell

pytestmark = pytest.mark.slow

VIEW = feature_view("stats").having("metadata.namespace", "shop").build()


@pytest.fixture
def registries(start_service: StartService, without_tables: str) -> Iterator[list[RunningService]]:
    """Two that start at once over an empty database."""
    settings = {"MILLRACE_DATABASE_URL": without_tables}
    started = [start_service("-m", "millrace_services.registry", listening=False, **settings) for _ in range(2)]
    for each in started:
        each.wait_listening(60)
    yield started
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.exit_code()


@contextmanager
def repeating(*calls: Callable[[int], None]) -> Iterator[None]:
    """Calls each of them again and again with a rising number, in a thread of its own, until the block ends."""
    stop = threading.Event()

    def repeat(call: Callable[[int], None]) -> None:
        number = 0
        while not stop.is_set():
            call(number)
            number += 1

    threads = [threading.Thread(target=repeat, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def state(registry: RunningService) -> dict[str, object]:
    found: dict[str, object] = httpx.get(f"{registry.url}/v1/catalogue/state").json()
    return found


def test_what_one_is_told_all_of_them_say(registries: list[RunningService]) -> None:
    first, second = registries
    assert state(first) == state(second)
    assert httpx.get(f"{second.url}/v1/definitions").status_code == 503
    tell(first.url, VIEW)
    one, other = (httpx.get(f"{each.url}/v1/definitions") for each in registries)
    assert (one.content, one.headers["etag"]) == (other.content, other.headers["etag"])
    assert one.headers["x-millrace-catalogue"] == other.headers["x-millrace-catalogue"]
    tell(second.url)
    assert httpx.get(f"{first.url}/v1/definitions").json()["featureViews"] == []


def test_one_that_is_killed_loses_no_read_of_the_other_and_no_write_that_was_acknowledged(
    registries: list[RunningService],
) -> None:
    first, second = registries
    tell(first.url, VIEW)
    acknowledged: set[str] = set()
    reads: list[tuple[int, int]] = []
    revisions: list[int] = []
    failed: list[str] = []

    def write(registry: RunningService, prefix: str, client: httpx.Client) -> Callable[[int], None]:
        def put(number: int) -> None:
            name = f"{prefix}-{number}"
            view = {**VIEW, "metadata": {"name": name, "namespace": "shop"}}
            try:
                client.put(f"{registry.url}/v1/catalogue/FeatureView/shop/{name}", json=view).raise_for_status()
            except httpx.HTTPError as error:
                failed.append(f"{prefix}: {error!r}")
                threading.Event().wait(0.01)
            else:
                acknowledged.add(name)

        return put

    def read(_: int) -> None:
        known = len(acknowledged)
        answer = reader.get(f"{second.url}/v1/definitions")
        reads.append((answer.status_code, known - len(answer.json().get("featureViews", ()))))
        revisions.append(int(answer.headers["x-millrace-revision"]))

    with (
        httpx.Client(timeout=20) as one,
        httpx.Client(timeout=20) as other,
        httpx.Client(timeout=20) as reader,
        repeating(write(first, "first", one), write(second, "second", other), read),
    ):
        reached(lambda: len([name for name in list(acknowledged) if name.startswith("first")]) > 20)
        first.terminate(signal.SIGKILL)
        first.exit_code()
        before = len(acknowledged)
        reached(lambda: len(acknowledged) > before + 20 and len(reads) > 20)
    assert [each for each in failed if each.startswith("second")] == []
    assert {status for status, _ in reads} == {200}
    # Whoever was told that a write is done finds it in the next answer, beside the view that was there.
    assert max(missing for _, missing in reads) < 0
    assert revisions == sorted(revisions)
    found = httpx.get(f"{second.url}/v1/catalogue", params={"limit": 10_000}).json()["items"]
    kept = {item["metadata"]["name"] for item in found}
    assert acknowledged <= kept
    assert len(kept - acknowledged) <= 2  # the view that was there, and the write whose answer the kill took away


def test_of_two_that_move_one_alias_by_what_they_read_each_time_one_does(
    registries: list[RunningService],
) -> None:
    models = f"{registries[0].url}/api/2.0/mlflow"
    httpx.post(f"{models}/registered-models/create", json={"name": "churn"}).raise_for_status()
    for number in range(3):
        body = {"name": "churn", "source": f"s3://bucket/{number}"}
        httpx.post(f"{models}/model-versions/create", json=body).raise_for_status()
    together, moved = threading.Barrier(2), []

    def move(registry: RunningService, version: int) -> None:
        route = f"{registry.url}/api/2.0/mlflow/registered-models/alias"
        with httpx.Client(timeout=60) as client:
            for _ in range(20):
                together.wait(60)
                read = client.get(route, params={"name": "churn", "alias": "champion"})
                before = read.json()["model_version"]["version"] if read.is_success else "0"
                together.wait(60)
                # Each move is one: from 1 and 3 to 2 and back.
                after = {"2": "1"}.get(before, "2") if version == 1 else {"2": "3"}.get(before, "2")
                body = {"name": "churn", "alias": "champion", "version": after, "expected_version": before}
                moved.append(client.post(route, json=body).status_code)

    threads = [
        threading.Thread(target=move, args=(each, version)) for each, version in zip(registries, (1, 3), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (moved.count(200), moved.count(409)) == (20, 20)
    changes = httpx.get(f"{registries[1].url}/v1/registered-models/churn/changes").json()["items"][::-1]
    assert len(changes) == 20
    assert [each["from"] for each in changes[1:]] == [each["to"] for each in changes[:-1]]


def test_a_writer_that_stands_still_with_the_lock_holds_the_others_up_for_seconds_only(
    registries: list[RunningService], postgres: str
) -> None:
    first, second = registries
    tell(first.url, VIEW)
    engine = create_engine(postgres)
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x6D696C6C})
        assert httpx.get(f"{second.url}/v1/definitions").status_code == 200
        refused = httpx.put(f"{second.url}/v1/catalogue/FeatureView/shop/stats", json=VIEW, timeout=60)
    assert (refused.status_code, refused.json()["reason"]) == (503, "DatabaseUnavailable")
    assert httpx.put(f"{second.url}/v1/catalogue/FeatureView/shop/stats", json=VIEW, timeout=60).status_code == 200
    engine.dispose()


def reached(holds: Callable[[], bool], seconds: float = 60) -> None:
    done = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if holds():
            return
        done.wait(0.02)
    raise AssertionError(f"not within {seconds:g} s")
