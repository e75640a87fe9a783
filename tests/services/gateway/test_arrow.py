"""Reads as Arrow streams: the same values, statuses and times as in JSON, typed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pytest

from tests.builders import feature_view
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import compiled, published

STREAM = "application/vnd.apache.arrow.stream"
VIEW = (
    feature_view("stats")
    .having("spec.entities", [{"name": "user_id", "type": "int64"}, {"name": "day", "type": "timestamp"}])
    .having(
        "spec.features",
        [
            {"name": "amount", "type": "float32"},
            {"name": "seen", "type": "timestamp"},
            {"name": "raw", "type": "bytes"},
        ],
    )
)
DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def view(publish: Publish, store: Store) -> None:
    document = published(VIEW.build(), "shop")
    publish(document)
    store.client.flushall()
    key = {"user_id": 1, "day": DAY}
    store.write(compiled(document, "shop"), key, 5, [float("inf"), -1, b"\x00\xff"])


def stream(table: pa.Table, about: Any) -> bytes:
    table = table.replace_schema_metadata({"millrace": orjson.dumps(about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


ENTITIES = pa.table({"user_id": pa.array([1, 2], pa.int16()), "day": pa.array([DAY, DAY], pa.timestamp("ms", "UTC"))})
ASKED = {"features": ["stats:raw", "stats:amount", "stats:seen"], "project": "shop"}


def test_a_stream_is_answered_by_a_stream(gateway: RunningService, view: None) -> None:
    answer = httpx.post(
        f"{gateway.url}/get-online-features", content=stream(ENTITIES, ASKED), headers={"content-type": STREAM}
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == STREAM
    table = pa.ipc.open_stream(answer.content).read_all()
    assert [(field.name, field.type) for field in table.schema][:5] == [
        ("user_id", pa.int64()),
        ("day", pa.timestamp("us", "UTC")),
        ("raw", pa.binary()),
        ("raw__status", pa.int8()),
        ("raw__event_timestamp", pa.timestamp("us", "UTC")),
    ]
    assert table.column("raw").to_pylist() == [b"\x00\xff", None]
    assert table.column("amount").to_pylist() == [float("inf"), None]
    assert table.column("seen").cast(pa.int64()).to_pylist() == [-1, None]
    assert table.column("seen__status").to_pylist() == [1, 3]
    assert table.column("amount__event_timestamp").cast(pa.int64()).to_pylist() == [5, None]
    assert orjson.loads(table.schema.metadata[b"millrace"])["statuses"]["4"] == "OUTSIDE_MAX_AGE"


def test_json_may_be_answered_by_a_stream_and_a_stream_by_json(gateway: RunningService, view: None) -> None:
    url = f"{gateway.url}/get-online-features"
    entities = {"user_id": [1, 2], "day": ["2026-01-01T00:00:00Z"] * 2}
    binary = httpx.post(url, json={**ASKED, "entities": entities}, headers={"accept": STREAM})
    assert pa.ipc.open_stream(binary.content).read_all().column("raw").to_pylist() == [b"\x00\xff", None]
    media = {"content-type": STREAM, "accept": "application/json"}
    text = httpx.post(url, content=stream(ENTITIES, {**ASKED, "features": ["stats:amount"]}), headers=media)
    assert text.json()["results"][2]["values"] == ["Infinity", None]


@pytest.mark.parametrize("body", [b"", b"rubbish", stream(ENTITIES, ASKED)[:-300], stream(ENTITIES, ["x"])])
def test_a_body_that_is_no_request_is_refused(gateway: RunningService, view: None, body: bytes) -> None:
    refused = httpx.post(f"{gateway.url}/get-online-features", content=body, headers={"content-type": STREAM})
    assert refused.status_code == 400, refused.text
