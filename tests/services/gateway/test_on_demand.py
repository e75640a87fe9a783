"""On-demand features and arrays over HTTP: from the request and the stored row, as training would have them."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from millrace import FeatureStore
from tests.builders import feature_view
from tests.running_service import RunningService
from tests.services.gateway.conftest import Publish, Store
from tests.services.gateway.test_feature_reads import SECOND, ask, columns, compiled, published

CART = feature_view("cart").having(
    "spec.features",
    [
        {"name": "last_amount", "type": "float64"},
        {"name": "embedding", "type": "array<float32>"},
        {"name": "seen", "type": "timestamp"},
        {"name": "doubled", "type": "float64", "expression": "last_amount * 2"},
        {"name": "ratio", "type": "float64", "expression": "request.amount / nullif(last_amount, 0)"},
        {"name": "filled", "type": "float32", "expression": "coalesce(doubled, request.amount)"},
        {"name": "similarity", "type": "float32", "expression": "list_cosine_similarity(embedding, request.query)"},
        {"name": "idle_s", "type": "int64", "expression": "date_diff('second', seen, request.now)"},
        {"name": "tags", "type": "array<string>", "expression": "[request.channel, upper(request.channel)]"},
    ],
)
FIELDS = [
    {"name": "amount", "type": "float64"},
    {"name": "query", "type": "array<float32>"},
    {"name": "now", "type": "timestamp"},
    {"name": "channel", "type": "string"},
]
ON_DEMAND = ["cart:ratio", "cart:filled", "cart:similarity", "cart:idle_s", "cart:tags"]
BROUGHT: dict[str, Any] = {
    "amount": [3.0, "Infinity"],
    "query": [[0.0, 2.0], None],
    "now": ["2026-01-01T00:00:09Z", None],
    "channel": ["web", None],
}


@pytest.fixture
def cart(publish: Publish, store: Store) -> None:
    document = published(CART.having("spec.requestFields", FIELDS).build(), "shop")
    publish(document)
    store.client.flushall()
    seen = 1_767_225_600 * SECOND
    values = [2.0, [0.0, 1.0], seen, 4.0]
    store.write(compiled(document, "shop"), {"user_id": 1}, time.time_ns() // 1000 - SECOND, values)


def test_what_a_read_takes_and_gives_is_told_by_name_and_type(gateway: RunningService, cart: None) -> None:
    asked = {"features": ["cart:embedding", "cart:ratio", "cart as sender(user_id=sender_id):seen"], "project": "shop"}
    told = httpx.post(f"{gateway.url}/get-feature-metadata", json={**asked, "full_feature_names": True})
    assert told.json() == {
        "features": [
            {"name": "cart__embedding", "type": "array<float32>"},
            {"name": "cart__ratio", "type": "float64"},
            {"name": "sender__seen", "type": "timestamp"},
        ],
        "entities": [{"name": "user_id", "type": "int64"}, {"name": "sender_id", "type": "int64"}],
        "request_fields": [{"name": "amount", "type": "float64"}],
    }
    unknown = httpx.post(f"{gateway.url}/get-feature-metadata", json={**asked, "features": ["cart:nothing"]})
    assert unknown.status_code == 404
    assert "feature view 'cart' has no feature 'nothing'" in unknown.json()["error"]


def test_on_demand_features_are_computed_from_the_request_and_the_row(gateway: RunningService, cart: None) -> None:
    body = {"features": [*ON_DEMAND, "cart:embedding"], "entities": {"user_id": [1, 9]}, "project": "shop"}

    found = columns(ask(gateway, {**body, "request": BROUGHT}))

    assert list(found) == ["user_id", "ratio", "filled", "similarity", "idle_s", "tags", "embedding"]
    assert found["ratio"]["values"] == [1.5, None]
    assert found["filled"]["values"] == [4.0, "Infinity"]
    assert found["similarity"]["values"] == [1.0, None]
    assert found["idle_s"]["values"] == [9, None]
    assert found["tags"]["values"] == [["web", "WEB"], [None, None]]
    assert found["embedding"]["values"] == [[0.0, 1.0], None]
    assert found["ratio"]["statuses"] == ["PRESENT", "NULL_VALUE"]
    assert found["embedding"]["statuses"] == ["PRESENT", "NOT_FOUND"]
    assert found["ratio"]["event_timestamps"] == found["embedding"]["event_timestamps"]


def test_the_sdk_reads_through_the_gateway_what_it_reads_from_the_store(
    gateway: RunningService,
    registry: RunningService,
    cart: None,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Numbers that are not finite, in both directions, and entities without a row, which have no time."""
    monkeypatch.setattr("millrace.sdk.online.SECONDS", 60.0)  # a machine may be busy
    path = tmp_path / "cart.yaml"
    path.write_text(
        yaml.safe_dump(CART.having("spec.requestFields", FIELDS).having("metadata.namespace", "shop").build())
    )
    now = datetime(2026, 1, 1, 0, 0, 9, tzinfo=UTC)
    request = {
        "amount": [math.nan, math.inf, -math.inf],
        "query": [[0.0, 2.0], [math.nan, math.inf], None],
        "now": [now] * 3,
        "channel": ["web"] * 3,
    }
    found = []
    doors = [
        FeatureStore.from_files([path], store.url, "shop"),
        FeatureStore.connect(registry.url, gateway.url, project="shop"),
    ]
    for sdk in doors:
        rows = [{"user_id": user} for user in (1, 9, 10)]
        found.append(sdk.get_online_features([*ON_DEMAND, "cart:embedding"], rows, request))
    by_store, by_gateway = found
    assert str(by_gateway.to_dict()) == str(by_store.to_dict())
    assert str(by_gateway.to_dict()["filled"]) == "[4.0, inf, -inf]"
    assert by_gateway.statuses == by_store.statuses
    assert by_gateway.event_timestamps == by_store.event_timestamps
    assert by_gateway.event_timestamps["filled"][1:] == [None, None]


def test_feasts_clients_send_request_fields_among_the_entities(gateway: RunningService, cart: None) -> None:
    body = {"features": ON_DEMAND, "project": "shop"}
    apart = ask(gateway, {**body, "entities": {"user_id": [1, 9]}, "request": BROUGHT})
    together = ask(gateway, {**body, "entities": {"user_id": [1, 9], **BROUGHT}})

    assert columns(together) == columns(apart)


def test_a_read_without_on_demand_features_needs_no_request(gateway: RunningService, cart: None) -> None:
    body = {"features": ["cart:doubled"], "entities": {"user_id": [1]}, "project": "shop"}
    assert columns(ask(gateway, body))["doubled"]["values"] == [4.0]


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "missing": ({"amount": None}, ["request.amount", "is missing", "float64"]),
    "no list": ({"amount": 3.0}, ["request.amount", "a list with one value per entity"]),
    "too few": ({"amount": [1.0]}, ["request.amount", "1 values came, there are 2 entities"]),
    "a text for a number": ({"amount": [1.0, "x"]}, ["request.amount[1]", "'x' (str)", "float64"]),
    "a bool for a number": ({"amount": [True, 1]}, ["request.amount[0]", "True (bool)"]),
    "no array": ({"query": [1.0, None]}, ["request.query[0]", "array<float32>"]),
    "a wrong element": ({"query": [[1.0, "x"], None]}, ["request.query[0][1]", "'x' (str)", "float32"]),
    "no time": ({"now": ["yesterday", None]}, ["request.now[0]", "yesterday"]),
    "no request at all": (dict.fromkeys(BROUGHT), ["request.amount", "is missing"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_field_is_named_with_its_place(gateway: RunningService, cart: None, case: str) -> None:
    change, words = REFUSED[case]
    brought = {name: value for name, value in {**BROUGHT, **change}.items() if value is not None}
    body = {"features": ON_DEMAND, "entities": {"user_id": [1, 9]}, "project": "shop"}

    refused = ask(gateway, {**body, "request": brought})

    assert refused.status_code == 400, refused.text
    for word in words:
        assert word in refused.json()["error"]


def test_a_column_that_is_neither_key_nor_request_field_is_refused_with_both(
    gateway: RunningService, cart: None
) -> None:
    body = {"features": ["cart:ratio"], "project": "shop", "entities": {"user_id": [1], "amout": [2.0]}}
    refused = ask(gateway, body)
    assert refused.status_code == 400
    assert "'amout'" in refused.text
    assert "user_id; the request fields: amount" in refused.text


def test_expressions_that_fail_are_null_and_count_by_feature(
    gateway: RunningService, registry: RunningService, publish: Publish, store: Store
) -> None:
    features = [
        {"name": "page", "type": "string"},
        {"name": "number", "type": "int32", "expression": "page::int"},
        {"name": "asked", "type": "int32", "expression": "request.text::int"},
    ]
    view = feature_view("fails").having("spec.features", features).having("spec.source.parquet", None)
    view = view.having("spec.source.push", {"uri": "file:///nowhere/"})
    publish(published(view.having("spec.requestFields", [{"name": "text", "type": "string"}]).build(), "shop"))
    now = datetime.now(UTC).isoformat()
    rows = {"user_id": [1, 2, 3], "event_timestamp": [now] * 3, "page": ["7", "x", None]}

    pushed = httpx.post(f"{gateway.url}/push", json={"view": "fails", "df": rows, "to": "online", "project": "shop"})
    body = {"features": ["fails:number", "fails:asked"], "entities": {"user_id": [1, 2, 3]}, "project": "shop"}
    answer = ask(gateway, {**body, "request": {"text": ["x", "y", "1"]}})
    found = columns(answer)

    assert pushed.json()["expression_errors"] == {"number": 1}
    assert answer.json()["metadata"]["expression_errors"] == {"asked": 2}
    assert found["number"]["values"] == [7, None, None]
    assert (found["asked"]["values"], found["asked"]["statuses"]) == (
        [None, None, 1],
        ["NULL_VALUE", "NULL_VALUE", "PRESENT"],
    )
    metrics = httpx.get(f"{gateway.url}/metrics").text.splitlines()
    counted = {line for line in metrics if line.startswith("millrace_gateway_expression_errors_total")}
    labels = 'feature="{}",namespace="shop",view="fails"'
    name = "millrace_gateway_expression_errors_total"
    assert counted == {f"{name}{{{labels.format('number')}}} 1.0", f"{name}{{{labels.format('asked')}}} 2.0"}
    features_of = FeatureStore.connect(registry.url, gateway.url, project="shop")
    read = features_of.get_online_features(body["features"], [{"user_id": 1}], {"text": ["x"]})
    assert read.expression_errors == {"asked": 1}
    pushed_again = features_of.push("fails", {**rows, "event_timestamp": [datetime.now(UTC)] * 3}, to="online")
    assert pushed_again.expression_errors == {"number": 1}


def test_a_read_whose_expressions_take_too_long_is_refused_by_the_view_and_other_reads_go_on(
    gateway: RunningService, publish: Publish, cart: None
) -> None:
    """20 expressions of 2 million steps for a row: 5,000 rows take hours, wherever it runs."""
    heavy = [
        {"name": f"x{n}", "type": "int64", "expression": f"levenshtein(request.q || '{n}', reverse(request.q))"}
        for n in range(20)
    ]
    slow = feature_view("slow").having("spec.features", [{"name": "a", "type": "float64"}, *heavy])
    slow = slow.having("spec.requestFields", [{"name": "q", "type": "string"}])
    published_cart = published(CART.having("spec.requestFields", FIELDS).build(), "shop")
    unusable = published(
        feature_view("unusable")
        .having("spec.features", [{"name": "x", "type": "string", "expression": "lpad('x', 2000000000, 'y')"}])
        .build(),
        "shop",
    )
    publish(published_cart, published(slow.build(), "shop"), unusable)
    body = {"project": "shop", "entities": {"user_id": [1] * 5000}, "request": {"q": ["ab" * 300] * 5000}}

    url = f"{gateway.url}/get-online-features"
    refused = httpx.post(url, json={**body, "features": [f"slow:x{n}" for n in range(20)]}, timeout=60)

    assert refused.status_code == 400, refused.text
    assert refused.json()["reason"] == "ExpressionTooSlow"
    assert "x0" in refused.json()["error"]
    broken = httpx.post(url, json={"project": "shop", "entities": {"user_id": [1]}, "features": ["unusable:x"]})
    assert broken.status_code == 400
    assert "lpad pads to 2000000000" in broken.json()["error"]
    found = columns(
        ask(
            gateway,
            {"features": ["cart:ratio"], "entities": {"user_id": [1]}, "project": "shop", "request": {"amount": [3.0]}},
        )
    )
    assert found["ratio"]["values"] == [1.5]


def test_a_push_whose_expressions_take_too_long_is_refused_by_the_view(
    gateway: RunningService, publish: Publish, cart: None
) -> None:
    """20 expressions of a million steps for a row: 2,000 rows take minutes."""
    heavy = [
        {"name": f"x{n}", "type": "int64", "expression": f"levenshtein(a || '{n}', reverse(a))"} for n in range(20)
    ]
    slow = feature_view("slow").having("spec.features", [{"name": "a", "type": "string"}, *heavy])
    publish(published(slow.build(), "shop"))
    rows = {"user_id": [1], "event_timestamp": [datetime.now(UTC).isoformat()], "a": ["ab" * 300]}
    rows = {name: values * 2000 for name, values in rows.items()}
    rows["user_id"] = [*range(2000)]

    answer = httpx.post(
        f"{gateway.url}/push",
        json={"project": "shop", "push_source_name": "slow", "df": rows, "to": "online"},
        timeout=60,
    )

    assert answer.status_code == 400, answer.text
    assert answer.json()["reason"] == "ExpressionTooSlow"
