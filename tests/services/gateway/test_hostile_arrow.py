"""Arrow bodies that lie or that grow: refused, with the server alive and its memory flat."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.builders import feature_view
from tests.hostile_arrow import ABOUT, HOSTILE, STREAM, rows, stream
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import published

# Of what a server may take on for one body: its own size, and what checks and answers need.
ROOM = 120_000_000


@pytest.fixture(scope="module")
def victim(start_service: StartService, registry: RunningService, store: Store) -> RunningService:
    """A gateway of this module alone, because it may die."""
    return start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_REFRESH_SECONDS="0.1",
    )


@pytest.fixture
def view(publish: Publish, victim: RunningService, store: Store) -> None:
    by_name = feature_view("names").having("spec.entities", [{"name": "name", "type": "string"}])
    publish(*(published(each.build(), "shop") for each in (feature_view("stats"), by_name)))
    store.client.flushall()


def peak(service: RunningService) -> int:
    """The most memory that a server has ever had, in bytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def send(service: RunningService, path: str, body: bytes) -> httpx.Response:
    return httpx.post(f"{service.url}{path}", content=body, headers={"content-type": STREAM}, timeout=60)


@pytest.fixture
def flat(victim: RunningService, view: None) -> Iterator[None]:
    """The server lives, and its memory has not grown."""
    for path in ("/push", "/get-online-features"):
        send(victim, path, stream(rows(2)))
    before = peak(victim)
    yield
    assert victim.process.poll() is None, victim.log()[-2000:]
    assert peak(victim) - before < ROOM


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/push", "/get-online-features"])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.usefixtures("flat")
def test_a_body_that_lies_or_grows_is_refused(victim: RunningService, name: str, path: str) -> None:
    refused = send(victim, path, HOSTILE[name]())
    assert refused.status_code in (400, 413), refused.text
    assert "Traceback" not in refused.text


ODD: dict[str, pa.Array] = {
    "unknown zone": pa.array([0, 1], pa.timestamp("us", "Mars/Base")),
    "time out of range": pa.array([2**62, -(2**62)], pa.timestamp("s", "UTC")),
    "date out of range": pa.array([2**31 - 1, 0], pa.date32()),
    "duration out of range": pa.array([2**62, 0], pa.duration("s")),
    "time of day out of range": pa.array([2**62, 0], pa.int64()).view(pa.time64("us")),
    "union": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "decimal": pa.array([1, 2]).cast(pa.decimal128(38, 0)),
    "nulls": pa.nulls(2),
}


@pytest.mark.parametrize("path", ["/push", "/get-online-features"])
@pytest.mark.parametrize("name", ODD)
@pytest.mark.usefixtures("flat")
def test_a_column_of_an_odd_type_or_with_odd_values_is_no_internal_error(
    victim: RunningService, name: str, path: str
) -> None:
    for column in ("user_id", "event_timestamp", "other"):
        body: dict[str, Any] = {"user_id": pa.array([1, 2])} if path != "/push" else rows(2)
        answer = send(victim, path, stream({**body, column: ODD[name]}))
        assert answer.status_code < 500, (column, answer.text)


@pytest.mark.usefixtures("flat")
def test_thousands_of_columns_take_time_by_their_number(victim: RunningService) -> None:
    body = stream({**rows(2), **{f"c{index}": pa.array([1, 2]) for index in range(5000)}})
    unknown = send(victim, "/push", body)
    assert (unknown.status_code, len(unknown.content) < 5000) == (400, True)
    refused = send(victim, "/get-online-features", body)
    assert refused.status_code == 400


def test_a_body_never_shows_memory_that_is_not_its_own(victim: RunningService, view: None) -> None:
    body = stream({"name": ["aaaa", "bbbb"]}, {**ABOUT, "features": ["names:visits"]})
    lies = body.replace(b"\0\0\0\0\4\0\0\0\10\0\0\0", b"\0\0\0\0\0\4\0\0\10\0\0\0")
    refused = send(victim, "/get-online-features", lies)
    assert (refused.status_code, len(refused.content) < 1000) == (400, True), refused.content[:2000]
