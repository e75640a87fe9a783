"""Feature reads over HTTP: values, statuses, refusals, and what stays when the registry or the store goes."""

from __future__ import annotations

import signal
import time
from typing import Any

import httpx
import orjson
import pytest

from millrace import FeatureStore
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys
from millrace_core.features.online.row import Layout
from tests.builders import feature_view, model_deployment
from tests.running_service import RunningService, StartService
from tests.services.gateway.conftest import Publish, Store

SECOND = 1_000_000


def published(document: dict[str, Any], project: str) -> dict[str, Any]:
    return {**document, "metadata": {**document["metadata"], "namespace": project, "uid": document["metadata"]["name"]}}


def compiled(document: dict[str, Any], project: str) -> Definition:
    return definition.compile(document["metadata"]["name"], project, FeatureViewSpec.model_validate(document["spec"]))


def now() -> int:
    return time.time_ns() // 1000


def ask(gateway: RunningService, body: Any) -> httpx.Response:
    return httpx.post(f"{gateway.url}/get-online-features", json=body)


def columns(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return dict(zip(body["metadata"]["feature_names"], body["results"], strict=True))


STATS = feature_view("stats")
FRESH = (
    feature_view("fresh")
    .having("spec.ttl", "1h")
    .having("spec.features", [{"name": "score", "type": "float32"}, {"name": "visits", "type": "int64"}])
)


@pytest.fixture
def views(publish: Publish, store: Store) -> None:
    documents = [published(built.build(), "shop") for built in (STATS, FRESH)]
    deployment = model_deployment("fraud").having("spec.features", {"refs": ["fresh:score", "stats:amount"]})
    publish(*documents, published(deployment.build(), "shop"))
    store.client.flushall()
    store.write(compiled(documents[0], "shop"), {"user_id": 1}, now() - SECOND, [12.5, 3])
    store.write(compiled(documents[0], "shop"), {"user_id": 2}, now() - SECOND, [None, 4])
    store.write(compiled(documents[1], "shop"), {"user_id": 1}, now() - 2 * 3600 * SECOND, [0.5, 9])


def test_values_statuses_and_names_have_feasts_form(gateway: RunningService, views: None) -> None:
    answer = ask(
        gateway,
        {
            "features": ["stats:visits", "stats:amount", "fresh:score"],
            "entities": {"user_id": [1, 2, 3]},
            "project": "shop",
        },
    )
    found = columns(answer)
    assert list(found) == ["user_id", "visits", "amount", "score"]
    assert found["user_id"]["values"] == [1, 2, 3]
    assert found["visits"]["values"] == [3, 4, None]
    assert found["amount"]["values"] == [12.5, None, None]
    assert found["amount"]["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert found["score"]["values"] == [None, None, None]
    assert found["score"]["statuses"] == ["OUTSIDE_MAX_AGE", "NOT_FOUND", "NOT_FOUND"]
    assert found["amount"]["event_timestamps"][2] == "1970-01-01T00:00:00Z"


def test_two_features_of_one_name_need_their_views_names(gateway: RunningService, views: None) -> None:
    body = {"features": ["stats:visits", "fresh:visits"], "entities": {"user_id": [1]}, "project": "shop"}
    refused = ask(gateway, body)
    assert refused.status_code == 400
    assert "stats:visits and fresh:visits" in refused.json()["error"]
    found = columns(ask(gateway, {**body, "full_feature_names": True}))
    assert list(found) == ["user_id", "stats__visits", "fresh__visits"]


def test_a_deployments_name_stands_for_its_features(gateway: RunningService, views: None) -> None:
    found = columns(ask(gateway, {"feature_service": "fraud", "entities": {"user_id": [1]}, "project": "shop"}))
    assert list(found) == ["user_id", "score", "amount"]


REFUSED: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "unknown view": ({"features": ["nothing:x"]}, 404, ["nothing", "fresh, stats"]),
    "unknown feature": ({"features": ["stats:cost"]}, 404, ["cost", "amount, visits"]),
    "unknown project": ({"project": "nowhere"}, 404, ["nowhere"]),
    "unknown service": ({"features": [], "feature_service": "x"}, 404, ["'x'", "fraud"]),
    "no reference": ({"features": ["stats"]}, 400, ["view:feature"]),
    "asked for twice": ({"features": ["stats:amount", "stats:amount"]}, 400, ["twice"]),
    "no features": ({"features": []}, 400, ["features"]),
    "missing join key": ({"entities": {"customer": [1]}}, 400, ["customer", "user_id"]),
    "wrong type": ({"entities": {"user_id": ["one"]}}, 400, ["'one'", "int64", "entities.user_id[0]"]),
    "ragged": ({"entities": {"user_id": [1], "other": [1, 2]}}, 400, ["differ in length"]),
    "no list": ({"entities": {"user_id": 1}}, 400, ["entities.user_id", "a list"]),
    "no entities": ({"entities": {}}, 400, ["entities"]),
    "too many": ({"entities": {"user_id": list(range(10_001))}}, 413, ["10000", "MILLRACE_MAX_ROWS"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_request_is_told_what_came_and_what_is_expected(
    gateway: RunningService, views: None, case: str
) -> None:
    change, status, words = REFUSED[case]
    body = {"features": ["stats:amount"], "entities": {"user_id": [1]}, "project": "shop", **change}
    refused = ask(gateway, body)
    assert refused.status_code == status, refused.text
    for word in words:
        assert word in refused.json()["error"]


@pytest.mark.parametrize("body", ["[]", "{", "null", '"x"'])
def test_a_body_that_is_no_request_is_refused(gateway: RunningService, body: str) -> None:
    assert httpx.post(f"{gateway.url}/get-online-features", content=body).status_code == 400


def test_a_view_applied_a_moment_ago_is_found_though_the_gateway_seldom_looks(
    start: StartService, registry: RunningService, publish: Publish, store: Store, views: None
) -> None:
    gateway = start(
        "-m",
        "millrace_services.gateway",
        MILLRACE_REGISTRY_URL=registry.url,
        MILLRACE_STORE_URL=store.url,
        MILLRACE_REFRESH_SECONDS="3600",
    )
    late = published(feature_view("late").build(), "shop")
    store.write(compiled(late, "shop"), {"user_id": 1}, now() - SECOND, [1.0, 1])
    publish(published(STATS.build(), "shop"), late, awaited=False)
    body = {"features": ["late:amount"], "entities": {"user_id": [1]}, "project": "shop"}
    until = time.monotonic() + 60
    while (answer := ask(gateway, body)).status_code == 404:  # it asks the registry five times a second at most
        assert time.monotonic() < until
        time.sleep(0.05)
    assert columns(answer)["amount"]["values"] == [1.0]


def test_rows_of_an_earlier_schema_are_read_by_it_and_never_misread(
    gateway: RunningService, publish: Publish, store: Store, views: None
) -> None:
    old = compiled(published(STATS.build(), "shop"), "shop")
    changed = published(
        STATS.having(
            "spec.features",
            [
                {"name": "visits", "type": "int64"},
                {"name": "note", "type": "string"},
                {"name": "amount", "type": "int64"},
            ],
        ).build(),
        "shop",
    )
    publish(changed)
    body = {
        "features": ["stats:visits", "stats:note", "stats:amount"],
        "entities": {"user_id": [1]},
        "project": "shop",
    }
    assert columns(ask(gateway, body))["visits"]["statuses"] == ["NOT_FOUND"]
    store.client.hset(
        keys.meta("shop", "stats"),
        (keys.META_LAYOUT + Layout.of(old).schema_id.hex().encode()).decode(),
        orjson.dumps(Layout.of(old).as_dict()),
    )
    found = columns(ask(gateway, body))
    assert found["visits"]["values"] == [3]
    assert found["note"]["statuses"] == ["NOT_FOUND"]
    assert found["amount"]["statuses"] == ["NOT_FOUND"]


def test_floats_that_json_has_no_form_for_come_as_words(gateway: RunningService, store: Store, views: None) -> None:
    stats = compiled(published(STATS.build(), "shop"), "shop")
    for user, value in ((5, float("nan")), (6, float("inf")), (7, float("-inf")), (8, 1.5)):
        store.write(stats, {"user_id": user}, now() - SECOND, [value, 0])
    body = {"features": ["stats:amount"], "entities": {"user_id": [5, 6, 7, 8]}, "project": "shop"}
    found = columns(ask(gateway, body))
    assert found["amount"]["values"] == ["NaN", "Infinity", "-Infinity", 1.5]
    assert found["amount"]["statuses"] == ["PRESENT"] * 4


def test_while_the_store_is_gone_the_answer_is_503_and_afterwards_the_rows_again(
    gateway: RunningService, store: Store, views: None
) -> None:
    body = {"features": ["stats:amount"], "entities": {"user_id": [1]}, "project": "shop"}
    assert ask(gateway, body).status_code == 200
    store.stop()
    refused = ask(gateway, body)
    assert refused.status_code == 503
    assert "online store" in refused.json()["error"]
    assert refused.headers["retry-after"]
    store.start()
    assert ask(gateway, body).status_code == 200


def test_the_last_good_definitions_keep_serving_without_the_registry(
    gateway: RunningService, registry: RunningService, store: Store, views: None
) -> None:
    body = {"features": ["stats:visits"], "entities": {"user_id": [1]}, "project": "shop"}
    stats = compiled(published(STATS.build(), "shop"), "shop")
    store.write(stats, {"user_id": 1}, now() - SECOND, [12.5, 3])
    time.sleep(0.3)
    assert ask(gateway, body).status_code == 200
    registry.process.send_signal(signal.SIGSTOP)
    try:
        time.sleep(0.3)
        assert columns(ask(gateway, body))["visits"]["values"] == [3]
    finally:
        registry.process.send_signal(signal.SIGCONT)


TRADES = feature_view("trade-stats").having("spec.entities", [{"name": "user_id", "type": "int64"}])


def test_a_view_is_read_twice_under_two_keys_in_one_request(
    gateway: RunningService, publish: Publish, store: Store
) -> None:
    document = published(TRADES.build(), "shop")
    publish(document)
    store.client.flushall()
    for user, visits in ((1, 10), (2, 20)):
        store.write(compiled(document, "shop"), {"user_id": user}, now() - SECOND, [0.5, visits])
    body = {
        "features": [
            "trade-stats as sender(user_id=sender_id):visits",
            "trade-stats as receiver (user_id = receiver_id):visits",
            "trade-stats:visits",
        ],
        "entities": {"sender_id": [1, 2, 9], "receiver_id": [2, None, 1], "user_id": [1, 1, 1]},
        "project": "shop",
        "full_feature_names": True,
    }
    found = columns(ask(gateway, body))
    assert list(found)[3:] == ["sender__visits", "receiver__visits", "trade-stats__visits"]
    assert found["sender__visits"]["values"] == [10, 20, None]
    assert found["receiver__visits"]["values"] == [20, None, 10]
    assert found["trade-stats__visits"]["values"] == [10, 10, 10]
    both = ask(gateway, body | {"full_feature_names": False})
    assert (both.status_code, both.json()["field"]) == (400, "features")
    assert "Set full_feature_names to true" in both.json()["error"]
    missing = ask(gateway, body | {"entities": {"sender_id": [1], "user_id": [1]}})
    assert (missing.status_code, missing.json()["field"]) == (400, "entities.receiver_id")
    mistyped = ask(gateway, body | {"entities": {"sender_id": ["x"], "receiver_id": [1], "user_id": [1]}})
    assert (mistyped.status_code, mistyped.json()["field"]) == (400, "entities.sender_id[0]")
    unknown = ask(gateway, body | {"features": ["trade-stats(driver=sender_id):visits"]})
    assert unknown.status_code == 400
    assert "has no join key 'driver'. It has: user_id" in unknown.json()["error"]


def test_a_list_that_was_saved_is_read_by_its_name_here_and_by_the_sdk(
    gateway: RunningService, registry: RunningService, views: None
) -> None:
    features = FeatureStore.connect(registry.url, gateway.url, project="shop")
    features.save_feature_service("both_views", (ref for ref in ("stats:visits", "fresh:score")), owner="risk")
    try:
        assert features.feature_services["both-views"] == ("stats:visits", "fresh:score")
        body = {"feature_service": "both_views", "entities": {"user_id": [2]}, "project": "shop"}
        until = time.monotonic() + 60
        while ask(gateway, body).status_code == httpx.codes.NOT_FOUND:  # it looks for what is new every 0.1 s
            assert time.monotonic() < until
        other = FeatureStore.connect(registry.url, gateway.url, project="shop")
        assert other.get_online_features("both-views", [{"user_id": 1}]).to_dict()["visits"] == [3]
        assert columns(ask(gateway, body))["visits"]["values"] == [4]
        with pytest.raises(NotFoundError, match="'stats' has no feature 'nothing'"):
            features.save_feature_service("wrong", ["stats:nothing"])
    finally:
        features.delete_feature_service("both-views")
    with pytest.raises(NotFoundError, match="no feature service"):
        features.get_online_features("both-views", [{"user_id": 1}])


def test_a_feature_store_of_files_says_who_keeps_lists() -> None:
    with pytest.raises(RejectError, match="kept by a registry"):
        FeatureStore.from_files([]).delete_feature_service("x")
