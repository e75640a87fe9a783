"""What Feast's own HTTP client (its remote online store, 0.67) sends and reads, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import httpx
import orjson
import pytest

from tests.builders import feature_view, model_deployment
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import compiled, published

DRIVERS = (
    feature_view("driver-stats")
    .having("spec.entities", [{"name": "driver_id", "type": "int64"}])
    .having(
        "spec.features",
        [
            {"name": "conv_rate", "type": "float64"},
            {"name": "trips", "type": "int64"},
            {"name": "note", "type": "string"},
            {"name": "vip", "type": "bool"},
        ],
    )
)
WRITE = (
    b'{"feature_view_name": "driver-stats", "df": {"driver_id": [1001, 1002], "conv_rate": [0.25, null], '
    b'"trips": [7, 8], "note": ["\\u00e9", ""], "vip": [true, false], "event_timestamp": '
    b'["2026-11-25T19:48:31.959136", "2026-11-25T19:48:31.959136"], "created": [null, null]}, '
    b'"allow_registry_cache": false}'
)
READ = (
    b'{"entities": {"driver_id": [1001, 1002, 9]}, "full_feature_names": false, '
    b'"include_feature_view_version_metadata": false, "features": ["driver-stats:conv_rate", "driver-stats:note"]}'
)
READ_SERVICE = (
    b'{"entities": {"driver_id": [1001]}, "full_feature_names": true, '
    b'"include_feature_view_version_metadata": false, "feature_service": "fraud"}'
)
# Feast's server takes this from any client; its documentation shows it with curl.
PUSH = (
    b'{"push_source_name": "driver-stats", "df": {"driver_id": [1003], "conv_rate": [1.0], "trips": [1], '
    b'"note": ["n"], "vip": [true], "event_timestamp": ["2026-11-25 10:59:42"], "created": ["2026-11-25 10:59:42"]}, '
    b'"to": "online", "allow_registry_cache": true, "transform_on_write": true}'
)
AT, EPOCH = "2026-11-25T19:48:31.959136Z", "1970-01-01T00:00:00Z"


def post(service: RunningService, path: str, body: bytes) -> Any:
    media = {"content-type": "application/json", "accept": "*/*", "user-agent": "python-requests/2.32"}
    answer = httpx.post(f"{service.url}{path}", content=body, headers=media, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_feasts_client_writes_rows_and_reads_them(gateway: RunningService, publish: Publish, store: Store) -> None:
    deployment = model_deployment("fraud").having("spec.features", {"refs": ["driver-stats:conv_rate"]})
    publish(published(DRIVERS.build(), "rides"), published(deployment.build(), "rides"))
    store.client.flushall()
    assert post(gateway, "/feast/write-to-online-store", WRITE)["accepted"] == 2
    assert post(gateway, "/feast/push", PUSH)["accepted"] == 1
    statuses = ["PRESENT", "PRESENT", "NOT_FOUND"]
    assert post(gateway, "/feast/get-online-features", READ) == {
        "metadata": {"feature_names": ["driver_id", "conv_rate", "note"]},
        "results": [
            {"values": [1001, 1002, 9], "statuses": ["PRESENT"] * 3, "event_timestamps": [EPOCH] * 3},
            {"values": [0.25, None, None], "statuses": statuses, "event_timestamps": [AT, AT, EPOCH]},
            {
                "values": ["é", "", None],
                "statuses": ["PRESENT", "PRESENT", "NOT_FOUND"],
                "event_timestamps": [AT, AT, EPOCH],
            },
        ],
    }
    assert post(gateway, "/feast/get-online-features", READ_SERVICE) == {
        "metadata": {"feature_names": ["driver_id", "driver-stats__conv_rate"]},
        "results": [
            {"values": [1001], "statuses": ["PRESENT"], "event_timestamps": [EPOCH]},
            {"values": [0.25], "statuses": ["PRESENT"], "event_timestamps": [AT]},
        ],
    }
    assert httpx.get(f"{gateway.url}/feast/health").status_code == 200


def columns(answer: Any) -> dict[str, Any]:
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


MOMENTS = (
    feature_view("moments")
    .having("spec.entities", [{"name": "day", "type": "timestamp"}])
    .having(
        "spec.features",
        [
            {"name": "seen", "type": "timestamp"},
            {"name": "rate", "type": "float32"},
            {"name": "vec", "type": "array<float64>"},
            {"name": "count", "type": "int64"},
        ],
    )
)


def test_below_feast_times_are_epoch_seconds_nan_is_null_and_a_null_is_present(
    gateway: RunningService, publish: Publish, store: Store
) -> None:
    document = published(MOMENTS.build(), "rides")
    publish(document)
    store.client.flushall()
    day, at = datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 25, 10, 59, 42, 900_000, tzinfo=UTC)
    times_of = [int(each.timestamp() * 1e6) for each in (at, day)]
    store.write(compiled(document, "rides"), {"day": day}, times_of[0], [-1, nan, [nan, inf, None], None])
    refs = ["moments:seen", "moments:rate", "moments:vec", "moments:count"]
    seconds = int(day.timestamp())
    asked = {"entities": {"day": [seconds, seconds + 1, None]}, "features": refs}
    found = columns(post(gateway, "/feast/get-online-features", orjson.dumps(asked)))
    assert found["day"]["values"] == [seconds, seconds + 1, None]
    # Rounded down, as Feast's server has a time before 1970, too.
    assert found["seen"]["values"] == [-1, None, None]
    assert found["rate"]["values"] == [None, None, None]
    assert found["vec"]["values"][0] == ["NaN", "Infinity", None]
    assert found["count"]["statuses"] == ["PRESENT", "NOT_FOUND", "NOT_FOUND"]
    assert found["count"]["event_timestamps"][0] == "2026-11-25T10:59:42.900000Z"

    here = {"entities": {"day": ["2026-11-25T00:00:00Z"]}, "features": refs}
    found = columns(post(gateway, "/get-online-features", orjson.dumps(here)))
    assert found["seen"]["values"] == ["1969-12-31T23:59:59.999999Z"]
    assert (found["rate"]["values"], found["count"]["statuses"]) == (["NaN"], ["NULL_VALUE"])


def test_below_feast_a_write_may_have_epoch_seconds_nan_and_whole_doubles(
    gateway: RunningService, publish: Publish, store: Store
) -> None:
    publish(published(MOMENTS.build(), "rides"))
    store.client.flushall()
    rows = (
        b'{"feature_view_name": "moments", "df": {"day": [1764028800], "seen": [1764068382], "rate": [NaN], '
        b'"vec": [[1.5, NaN]], "count": [3.0], "event_timestamp": [1764068382]}}'
    )
    assert post(gateway, "/feast/write-to-online-store", rows)["accepted"] == 1
    asked = {"entities": {"day": ["2025-11-25T00:00:00Z"]}, "features": ["moments:seen", "moments:rate", "moments:vec"]}
    found = columns(post(gateway, "/get-online-features", orjson.dumps(asked)))
    assert found["seen"]["values"] == ["2025-11-25T10:59:42Z"]
    assert found["seen"]["event_timestamps"] == ["2025-11-25T10:59:42Z"]
    assert found["rate"]["statuses"] == ["NULL_VALUE"]
    assert found["vec"]["values"] == [[1.5, "NaN"]]


@pytest.mark.parametrize("moment", [b"1764068382000", b"1764068382.5", b"true", b"1e300"])
def test_below_feast_one_row_that_does_not_fit_refuses_them_all(
    gateway: RunningService, publish: Publish, store: Store, moment: bytes
) -> None:
    publish(published(MOMENTS.build(), "rides"))
    store.client.flushall()
    rows = (
        b'{"push_source_name": "moments", "df": {"day": [1764028800, 1764028801], "seen": [1764068382, %b], '
        b'"rate": [1, 2], "vec": [[], []], "count": [3, 4], "event_timestamp": [1764068382, 1764068382]}}'
    )
    refused = httpx.post(f"{gateway.url}/feast/push", content=rows % moment)
    assert refused.status_code == 400
    assert refused.json()["field"] == "df.seen"
    assert "row 1:" in refused.json()["error"]
    assert "none was written" in refused.json()["error"]
    assert not store.client.keys("rides:moments:{*")


@pytest.mark.parametrize("body", [b'{"features": NaN', b"[" * 100_000, b"", b'{"a": ' + b"9" * 10_000 + b"}"])
def test_below_feast_what_is_no_json_is_refused(gateway: RunningService, body: bytes) -> None:
    for path in ("get-online-features", "push", "write-to-online-store"):
        assert httpx.post(f"{gateway.url}/feast/{path}", content=body).status_code == 400


def test_versions_of_views_are_not_told(gateway: RunningService) -> None:
    asked = b'{"features": ["v:f"], "entities": {"k": [1]}, "include_feature_view_version_metadata": true}'
    refused = httpx.post(f"{gateway.url}/feast/get-online-features", content=asked)
    assert (refused.status_code, refused.json()["field"]) == (400, "include_feature_view_version_metadata")


def test_names_may_have_underscores_where_the_objects_have_hyphens(
    gateway: RunningService, publish: Publish, store: Store
) -> None:
    deployment = model_deployment("fraud-check").having("spec.features", {"refs": ["driver_stats:trips"]})
    publish(published(DRIVERS.build(), "rides"), published(deployment.build(), "rides"))
    store.client.flushall()
    assert post(gateway, "/feast/write-to-online-store", WRITE.replace(b"driver-stats", b"driver_stats"))
    asked = READ.replace(b"driver-stats", b"driver_stats").replace(b'names": false', b'names": true')
    assert list(columns(post(gateway, "/feast/get-online-features", asked))) == [
        "driver_id",
        "driver_stats__conv_rate",
        "driver_stats__note",
    ]
    asked = READ_SERVICE.replace(b'"fraud"', b'"fraud_check"')
    assert columns(post(gateway, "/feast/get-online-features", asked))["driver_stats__trips"]["values"] == [7]


@pytest.mark.parametrize("path", ["materialize", "materialize-incremental"])
def test_who_asks_the_gateway_for_a_run_is_told_who_does_it(gateway: RunningService, path: str) -> None:
    refused = httpx.post(f"{gateway.url}/feast/{path}?async=true", json={"end_ts": "2026-01-01T00:00:00"})
    assert (refused.status_code, refused.json()["reason"]) == (501, "NotSupported")
    assert "kubectl annotate featureview" in refused.json()["error"]
