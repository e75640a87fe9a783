"""What Feast's own HTTP client (its remote online store, 0.67) sends and reads, byte for byte."""

from __future__ import annotations

from typing import Any

import httpx

from tests.builders import feature_view, model_deployment
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import published

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
    answer = httpx.post(f"{service.url}{path}", content=body, headers=media, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_feasts_client_writes_rows_and_reads_them(gateway: RunningService, publish: Publish, store: Store) -> None:
    deployment = model_deployment("fraud").having("spec.features", {"refs": ["driver-stats:conv_rate"]})
    publish(published(DRIVERS.build(), "rides"), published(deployment.build(), "rides"))
    store.client.flushall()
    assert post(gateway, "/write-to-online-store", WRITE)["accepted"] == 2
    assert post(gateway, "/push", PUSH)["accepted"] == 1
    statuses = ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert post(gateway, "/get-online-features", READ) == {
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
    assert post(gateway, "/get-online-features", READ_SERVICE) == {
        "metadata": {"feature_names": ["driver_id", "driver-stats__conv_rate"]},
        "results": [
            {"values": [1001], "statuses": ["PRESENT"], "event_timestamps": [EPOCH]},
            {"values": [0.25], "statuses": ["PRESENT"], "event_timestamps": [AT]},
        ],
    }
    assert httpx.get(f"{gateway.url}/health").status_code == 200
