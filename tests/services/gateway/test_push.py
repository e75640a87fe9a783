"""Pushes over HTTP: what lands, what does not, again, too much, and with the store away."""

from __future__ import annotations

import gzip
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pyarrow as pa
import pytest

from millrace.sdk.pushing import GatewayPusher
from millrace_core.base import destinations
from millrace_core.base.errors import RejectError
from millrace_core.features.history.history import TimeRange
from millrace_core.features.online import keys
from millrace_data.sources.credentials import Credentials
from millrace_data.sources.opening import open_source
from tests.builders import feature_view
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import ask, columns, compiled, published

STATS = feature_view("stats")
HIDDEN = feature_view("hidden").having("spec.online", {"enabled": False})
NOW = "2026-11-25T12:00:00Z"


@pytest.fixture
def views(publish: Publish, store: Store) -> None:
    publish(*(published(built.build(), "shop") for built in (STATS, HIDDEN)))
    store.client.flushall()


def rows(*given: tuple[Any, Any, Any], at: str = NOW) -> dict[str, list[Any]]:
    """Rows as (user_id, amount, visits)."""
    users, amounts, visits = (list(column) for column in zip(*given, strict=True))
    return {"user_id": users, "event_timestamp": [at] * len(given), "amount": amounts, "visits": visits}


def push(gateway: RunningService, df: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"push_source_name": "stats", "df": df, "project": "shop", **more}
    return httpx.post(f"{gateway.url}/push", json=body, headers=headers, timeout=60)


def until_ready(gateway: RunningService) -> None:
    """It listens before it knows what the registry has."""
    until = time.monotonic() + 60
    while httpx.get(f"{gateway.url}/health").status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.02)


def visits(gateway: RunningService, *users: int) -> list[Any]:
    found = columns(ask(gateway, {"features": ["stats:visits"], "entities": {"user_id": users}, "project": "shop"}))
    return list(found["visits"]["values"])


def test_rows_that_fit_land_and_the_others_are_named_with_their_reason(gateway: RunningService, views: None) -> None:
    answer = push(gateway, rows((1, 1.5, 3), (2, "much", 4), (None, 1.0, 5), (3, None, 6)))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["rows"], said["accepted"], said["rejected_rows"]) == (4, 2, 2)
    assert said["online"] == {"written": 2, "skipped": 0}
    assert [(each["index"], each["column"]) for each in said["rejected"]] == [(1, "amount"), (2, "user_id")]
    assert "'much' (str) came, float64 is expected" in said["rejected"][0]["reason"]
    assert visits(gateway, 1, 2, 3) == [3, None, 6]


def test_older_rows_do_not_replace_newer_ones_and_a_push_again_changes_nothing(
    gateway: RunningService, views: None
) -> None:
    assert push(gateway, rows((1, 1.0, 1))).json()["online"] == {"written": 1, "skipped": 0}
    assert push(gateway, rows((1, 1.0, 1))).json()["online"] == {"written": 0, "skipped": 1}
    assert push(gateway, rows((1, 0.0, 0), at="2026-11-25T11:00:00")).json()["online"] == {"written": 0, "skipped": 1}
    two = {name: column * 2 for name, column in rows((1, 2.0, 2)).items()}
    two["event_timestamp"] = ["2026-11-25T13:00:01Z", "2026-11-25T13:00:00Z"]
    two["visits"] = [9, 8]
    assert push(gateway, two).json()["online"] == {"written": 1, "skipped": 1}
    assert visits(gateway, 1) == [9]


def test_an_id_that_comes_again_has_its_first_answer_and_no_other_rows(gateway: RunningService, views: None) -> None:
    key = {"idempotency-key": f"k{time.time_ns()}"}
    first = push(gateway, rows((1, 1.0, 1)), key)
    assert push(gateway, rows((1, 1.0, 1)), key).json() == first.json()
    refused = push(gateway, rows((1, 1.0, 2)), key)
    assert (refused.status_code, refused.json()["field"]) == (409, "id")


def test_a_table_is_pushed_as_an_arrow_stream(gateway: RunningService, views: None) -> None:
    about = {"millrace": orjson.dumps({"view": "stats", "project": "shop"})}
    table = pa.table(
        {
            "user_id": pa.array([1, 2, 3], pa.int32()),
            "event_timestamp": pa.array([0, 1, 2], pa.timestamp("ms", "UTC")),
            "amount": [1.0, float("nan"), None],
            "visits": pa.array([1, 2**62, 3]),
        }
    ).replace_schema_metadata(about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    media = {"content-type": "application/vnd.apache.arrow.stream"}
    body = sink.getvalue().to_pybytes()
    answer = httpx.post(f"{gateway.url}/push", content=body, headers=media)
    assert answer.json()["online"] == {"written": 3, "skipped": 0}, answer.text
    assert visits(gateway, 1, 2, 3) == [1, 2**62, 3]
    assert httpx.post(f"{gateway.url}/push", content=body[:-20], headers=media).status_code == 400


@pytest.mark.parametrize("codings", [["gzip"], ["GZIP"], ["identity", "deflate"], ["gzip, gzip"], ["br"]])
def test_a_coded_body_is_told_to_come_as_it_is(gateway: RunningService, views: None, codings: list[str]) -> None:
    headers = [("content-encoding", each) for each in codings]
    body = orjson.dumps({"push_source_name": "stats", "df": rows((1, 1.0, 1)), "project": "shop"})
    for path in ("/push", "/get-online-features", "/experiments/shop/none/rebuild"):
        refused = httpx.post(f"{gateway.url}{path}", content=gzip.compress(body), headers=headers)
        assert (refused.status_code, refused.json()["field"]) == (415, "Content-Encoding")
        assert "Send it without a coding" in refused.json()["error"]
    plain = {"content-type": "application/json", "content-encoding": "identity"}
    assert httpx.post(f"{gateway.url}/push", content=body, headers=plain).status_code == 200


REFUSED: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "unknown view": ({"push_source_name": "nothing"}, 404, ['"field":"push_source_name"', "nothing", "stats"]),
    "unknown view by another name": ({"push_source_name": None, "view": "nothing"}, 404, ['"field":"view"']),
    "unknown column": ({"df": rows((1, 1.0, 1)) | {"amuont": [2.0]}}, 400, ["'amuont'", "Did you mean 'amount'"]),
    "no view": ({"push_source_name": None}, 400, ["push_source_name"]),
    "unknown place": ({"to": "everywhere"}, 400, ["'everywhere'", "online_and_offline"]),
    "no online part": ({"push_source_name": "hidden"}, 400, ["spec.online.enabled"]),
    "no rows": ({"df": [1]}, 400, ["df", "list of values per column"]),
    "missing column": ({"df": {"user_id": [1], "amount": [1.0]}}, 400, ["'event_timestamp' is missing", "stats"]),
    "all bad": ({"df": rows(("x", 1.0, 1))}, 400, ["no row fits", "'x' (str) came, int64 is expected"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_push_is_told_what_came_and_what_is_expected(gateway: RunningService, views: None, case: str) -> None:
    change, status, words = REFUSED[case]
    refused = httpx.post(
        f"{gateway.url}/push",
        json={"push_source_name": "stats", "df": rows((1, 1.0, 1)), "project": "shop", **change},
    )
    assert refused.status_code == status, refused.text
    for word in words:
        assert word in refused.text


def test_more_than_may_be_in_work_is_sent_back_until_there_is_room(
    start: StartService, registry: RunningService, store: Store, views: None
) -> None:
    small = start(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_OUTGOING=destinations.OPEN.as_json(),
        MILLRACE_PUSH_BYTES="10000",
        MILLRACE_MAX_BODY_BYTES="20000",
    )
    until_ready(small)
    until = time.monotonic() + 60
    where = urlsplit(small.url)
    with socket.create_connection((where.hostname, where.port)) as slow:
        slow.sendall(b"POST /push HTTP/1.1\r\nhost: x\r\ncontent-length: 9901\r\n\r\n")
        assert push(small, rows((1, 1.0, 1))).status_code == 200, "what was only announced takes no room"
        slow.sendall(b" " * 9900)
        while (refused := push(small, rows((1, 1.0, 1)))).status_code != 429:
            assert time.monotonic() < until
        assert int(refused.headers["retry-after"]) >= 1
        assert "10000 may be" in refused.json()["error"]
    while (answer := push(small, rows((1, 1.0, 1)))).status_code != 200:
        assert time.monotonic() < until, answer.text
    assert push(small, rows(*[(1, 1.0, 1)] * 2000)).status_code == 413


def test_while_the_store_is_gone_a_push_is_503_and_lands_afterwards(
    gateway: RunningService, store: Store, views: None
) -> None:
    store.stop()
    refused = push(gateway, rows((1, 1.0, 7)))
    assert (refused.status_code, refused.json()["reason"]) == (503, "StoreUnavailable")
    assert refused.headers["retry-after"]
    store.start()
    assert push(gateway, rows((1, 1.0, 7))).status_code == 200
    assert visits(gateway, 1) == [7]


def test_pushes_are_counted_by_what_became_of_their_rows(gateway: RunningService, views: None) -> None:
    push(gateway, rows((77, 1.0, 1), (78, "x", 1)))
    told = httpx.get(f"{gateway.url}/metrics").text
    assert 'millrace_gateway_pushed_rows_total{outcome="written"}' in told
    assert 'millrace_gateway_pushed_rows_total{outcome="rejected"}' in told
    assert "millrace_gateway_push_bytes 0.0" in told


def test_rows_for_the_log_are_the_history_of_a_push_source(
    gateway: RunningService, publish: Publish, store: Store, tmp_path: Path
) -> None:
    source = {"push": {"uri": f"file://{tmp_path}/log"}, "timestampField": "event_timestamp", "where": "kind = 'card'"}
    document = published(feature_view("stats").having("spec.source", source).build(), "shop")
    publish(document)
    store.client.flushall()
    df = rows((1, 1.0, 1), (2, 2.0, 2), (3, "x", 3)) | {"kind": ["card", "cash", "card"]}
    for _ in range(2):  # the second changes nothing
        said = push(gateway, df, to="online_and_offline").json()
        assert (said["accepted"], said["offline"]) == (2, {"rows": 2})
    assert visits(gateway, 1, 2, 3) == [1, None, None], "the row filter holds online too"
    push(gateway, rows((4, 4.0, 4)) | {"kind": ["card"]}, to="offline")
    assert visits(gateway, 4) == [None]
    definition = compiled(document, "shop")
    read = open_source(definition, Credentials()).scan(["user_id", "visits"], TimeRange(None, 2**62))
    assert sorted(row["visits"] for batch in read for row in batch.to_pylist()) == [1, 4]


def test_a_view_without_a_log_takes_no_rows_for_it(gateway: RunningService, views: None) -> None:
    refused = push(gateway, rows((1, 1.0, 1)), to="online_and_offline")
    assert (refused.status_code, refused.json()["field"]) == (400, "to")
    assert "spec.source.push" in refused.json()["error"]
    assert visits(gateway, 1) == [None]


def test_the_sdk_sends_columns_of_any_form_as_plain_ones(gateway: RunningService, views: None) -> None:
    table = pa.table(
        {
            "user_id": pa.array([1, 1, 2]).dictionary_encode(),
            "event_timestamp": pa.array([0, 1, 2], pa.timestamp("us", "Europe/Berlin")),
            "amount": pa.RunEndEncodedArray.from_arrays([3], [1.5]),
            "visits": pa.nulls(3),
        }
    )
    definition = compiled(published(STATS.build(), "shop"), "shop")
    pushed = GatewayPusher(gateway.url, "shop").push(definition, table, "online")
    assert (pushed.accepted, pushed.written, pushed.rejected) == (3, 2, [])
    for more in (pa.array([{"a": 1}] * 3), pa.array(["x", None, "z"]).cast(pa.string_view())):
        with pytest.raises(RejectError, match="has no column 'about'"):
            GatewayPusher(gateway.url, "shop").push(definition, table.append_column("about", more), "online")


def test_how_late_rows_may_be_stands_beside_them_for_runs(
    start: StartService, gateway: RunningService, registry: RunningService, store: Store, views: None
) -> None:
    patient = start(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_OUTGOING=destinations.OPEN.as_json(),
        MILLRACE_PUSH_TOLERANCE="2h",
    )
    until_ready(patient)
    assert push(gateway, rows((1, 1.0, 1))).status_code == 200
    assert store.client.hget(keys.meta("shop", "stats"), keys.META_TOLERANCE) is None
    assert push(patient, rows((1, 1.0, 1))).status_code == 200
    assert store.client.hget(keys.meta("shop", "stats"), keys.META_TOLERANCE) == b"7200000000"


DEEP = "[" * 1000 + "]" * 1000


@pytest.mark.parametrize("value", [DEEP, "1e308", "18446744073709551616", '"0001-01-01T00:00:00+14:00"', "{}", "NaN"])
@pytest.mark.parametrize("path", ["/push", "/feast/push", "/get-online-features", "/feast/get-online-features"])
def test_no_json_value_is_an_internal_error(gateway: RunningService, views: None, path: str, value: str) -> None:
    columns_ = ("user_id", "event_timestamp", "amount", "visits")
    for odd in (*columns_, "whole"):
        given = ",".join(f'"{name}": [{value if name == odd else 1}]' for name in columns_)
        whole = value if odd == "whole" else f"{{{given}}}"
        body = f'{{"push_source_name": "stats", "df": {whole}, "features": ["stats:visits"], "entities": {whole}}}'
        answer = httpx.post(f"{gateway.url}{path}", content=body.replace("{", '{"project": "shop",', 1))
        assert answer.status_code < 500, (odd, answer.text)
        assert len(answer.content) < 3000


def test_texts_that_are_no_unicode_are_refused(gateway: RunningService, views: None) -> None:
    for path in ("/push", "/feast/push", "/get-online-features", "/feast/get-online-features"):
        for text in (b'"\\ud800"', b'"\xff"'):
            column = b'{"user_id": [%b]}' % text
            body = b'{"push_source_name": "stats", "features": ["stats:visits"], "entities": %b, "df": %b}'
            refused = httpx.post(f"{gateway.url}{path}", content=body % (column, column))
            assert refused.status_code == 400, refused.text
