"""Views without entities over HTTP: read without a key in every form, alone and beside others, and pushed to."""

from __future__ import annotations

from typing import Any

import httpx
import pyarrow as pa
import pytest

from tests.builders import feature_view
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import ask, columns, compiled, published

RATES = feature_view("rates").having("spec.entities", [])
SCALED = (
    feature_view("scaled")
    .without("spec.entities")
    .having("spec.requestFields", [{"name": "factor", "type": "float64"}])
    .having(
        "spec.features",
        [{"name": "price", "type": "string"}, {"name": "cost", "type": "float64", "expression": "request.factor * 2"}],
    )
)
STATS = feature_view("stats")
AT = "2026-11-25T10:59:42Z"
MICROSECONDS = 1_795_604_382_000_000
EPOCH = "1970-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def views(publish: Publish, store: Store) -> None:
    documents = [published(built.build(), "rides") for built in (RATES, SCALED, STATS)]
    publish(*documents)
    store.client.flushall()
    store.write(compiled(documents[0], "rides"), {}, MICROSECONDS, [12.5, 3])
    store.write(compiled(documents[1], "rides"), {}, MICROSECONDS, ["one"])
    store.write(compiled(documents[2], "rides"), {"user_id": 1}, MICROSECONDS, [0.5, 7])


@pytest.mark.parametrize("entities", [{"entities": {}}, {}, {"entities": None}])
def test_it_is_read_without_a_key(gateway: RunningService, store: Store, entities: dict[str, Any]) -> None:
    assert store.client.exists("rides:rates:{0}")
    assert ask(gateway, {"features": ["rates:amount"], **entities}).json() == {
        "metadata": {"feature_names": ["amount"]},
        "results": [{"values": [12.5], "statuses": ["PRESENT"], "event_timestamps": [AT]}],
    }


def test_beside_a_view_with_entities_every_row_has_its_values(gateway: RunningService) -> None:
    body = {"features": ["stats:visits", "rates as shop:visits"], "entities": {"user_id": [1, None, 9]}}
    found = columns(ask(gateway, body | {"full_feature_names": True}))
    assert list(found) == ["user_id", "stats__visits", "shop__visits"]
    assert found["stats__visits"]["values"] == [7, None, None]
    assert found["shop__visits"]["values"] == [3, 3, 3]
    missing = ask(gateway, {"features": ["stats:visits", "rates:amount"]})
    assert (missing.status_code, missing.json()["field"]) == (400, "entities.user_id")


def test_request_fields_say_how_many_rows_there_are(gateway: RunningService) -> None:
    features = ["scaled:price", "scaled:cost"]
    for body in ({"request": {"factor": [1.0, 2.5]}}, {"entities": {"factor": [1.0, 2.5]}}):
        found = columns(ask(gateway, {"features": features, **body}))
        assert {name: each["values"] for name, each in found.items()} == {"price": ["one", "one"], "cost": [2.0, 5.0]}


def test_a_key_is_refused(gateway: RunningService) -> None:
    refused = ask(gateway, {"features": ["rates:amount"], "entities": {"user_id": [1]}})
    assert (refused.status_code, refused.json()["field"]) == (400, "entities.user_id")
    assert "The join keys are: none" in refused.json()["error"]
    for hidden in ("$global", "__dummy_id"):
        assert ask(gateway, {"features": ["rates:amount"], "entities": {hidden: [0]}}).status_code == 400


def test_arrow_has_its_values_and_no_key(gateway: RunningService) -> None:
    headers = {"accept": "application/vnd.apache.arrow.stream"}
    answer = httpx.post(f"{gateway.url}/get-online-features", json={"features": ["rates:amount"]}, headers=headers)
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == ["amount", "amount__status", "amount__event_timestamp"]
    assert table["amount"].to_pylist() == [12.5]


def test_feasts_clients_send_a_key_of_their_own_and_get_it_back(gateway: RunningService) -> None:
    body = {"features": ["rates:amount", "rates:visits"], "entities": {"__dummy_id": [""]}}
    answer = httpx.post(f"{gateway.url}/feast/get-online-features", json=body)
    assert answer.json() == {
        "metadata": {"feature_names": ["__dummy_id", "amount", "visits"]},
        "results": [
            {"values": [""], "statuses": ["PRESENT"], "event_timestamps": [EPOCH]},
            {"values": [12.5], "statuses": ["PRESENT"], "event_timestamps": [AT]},
            {"values": [3], "statuses": ["PRESENT"], "event_timestamps": [AT]},
        ],
    }
    mixed = {"features": ["rates:amount", "stats:visits"], "entities": {"user_id": [1, 9]}}
    found = columns(httpx.post(f"{gateway.url}/feast/get-online-features", json=mixed))
    assert (list(found), found["amount"]["values"]) == (["user_id", "amount", "visits"], [12.5, 12.5])


def test_the_key_of_feasts_clients_has_no_column_in_arrow(gateway: RunningService) -> None:
    headers = {"accept": "application/vnd.apache.arrow.stream"}
    body = {"features": ["rates:amount", "stats:visits"], "entities": {"user_id": [1, 2], "__dummy_id": ["", 5]}}
    answer = httpx.post(f"{gateway.url}/feast/get-online-features", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    table = pa.ipc.open_stream(answer.content).read_all()
    assert [name for name in table.column_names if "__" not in name] == ["user_id", "amount", "visits"]
    assert table["amount"].to_pylist() == [12.5, 12.5]


@pytest.mark.parametrize("value", ["{}", "[1]", "[" * 300 + "]" * 300])
def test_the_key_of_feasts_clients_is_a_text_or_a_number(gateway: RunningService, value: str) -> None:
    body = f'{{"features": ["rates:amount"], "entities": {{"__dummy_id": ["", {value}]}}}}'
    answer = httpx.post(f"{gateway.url}/feast/get-online-features", content=body)
    assert (answer.status_code, answer.json()["field"]) == (400, "entities.__dummy_id[1]"), answer.text


@pytest.mark.parametrize("path", ["/push", "/feast/push"])
def test_a_push_names_no_key_and_the_newest_row_stays(gateway: RunningService, path: str) -> None:
    rows = {"event_timestamp": ["2026-11-26T00:00:00Z", "2026-11-25T12:00:00Z"], "amount": [2.0, 1.0], "visits": [2, 1]}
    dummy = {"__dummy_id": ["", ""]} if "feast" in path else {}
    body = {"push_source_name": "rates", "df": rows | dummy, "to": "online"}
    answer = httpx.post(f"{gateway.url}{path}", json=body)
    assert answer.status_code == 200, answer.text
    assert columns(ask(gateway, {"features": ["rates:amount"]}))["amount"]["values"] == [2.0]
