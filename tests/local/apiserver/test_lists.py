"""Lists: selectors, pages, resource versions, and the forms that clients ask for."""

from __future__ import annotations

import httpx
import pytest

TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
PARTIAL = {"accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}


@pytest.fixture
def maps(http: httpx.Client, namespace: str) -> str:
    """The path of five ConfigMaps, a to e; the vowels carry a label."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for name in "caebd":
        labels = {"kind": "vowel", "rank": str("abcde".index(name))} if name in "ae" else {}
        http.post(path, json={"metadata": {"name": name, "labels": labels}}).raise_for_status()
    return path


def names(http: httpx.Client, path: str, **query: str) -> str:
    """The listed names, in order."""
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return "".join(item["metadata"]["name"] for item in answer.json()["items"])


def test_lists_are_in_order_of_name(http: httpx.Client, maps: str) -> None:
    answer = http.get(maps).json()
    assert (answer["kind"], answer["apiVersion"]) == ("ConfigMapList", "v1")
    assert answer["metadata"]["resourceVersion"].isdigit()
    assert [item["metadata"]["name"] for item in answer["items"]] == [*"abcde"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("kind=vowel", "ae"),
        ("kind==vowel", "ae"),
        ("kind!=vowel", "bcd"),
        ("kind", "ae"),
        ("!kind", "bcd"),
        ("kind in (vowel, other)", "ae"),
        ("kind notin (vowel)", "bcd"),
        ("kind=vowel,rank>0", "e"),
        ("rank<4", "a"),
        ("kind=", ""),
        ("", "abcde"),
    ],
)
def test_label_selectors(http: httpx.Client, maps: str, selector: str, expected: str) -> None:
    assert names(http, maps, labelSelector=selector) == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [("metadata.name=c", "c"), ("metadata.name!=c", "abde"), ("metadata.name=c,metadata.name=d", "")],
)
def test_field_selectors(http: httpx.Client, maps: str, selector: str, expected: str) -> None:
    assert names(http, maps, fieldSelector=selector) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"labelSelector": "a b c"}, "unable to parse requirement"),
        ({"labelSelector": "a>x"}, "must be an integer"),
        ({"fieldSelector": "spec.nope=1"}, "field label not supported: spec.nope"),
        ({"fieldSelector": "metadata.name"}, "invalid selector"),
        ({"limit": "many"}, "expected an integer"),
        ({"continue": "%%%"}, "continue key is not valid"),
        ({"resourceVersion": "x"}, "must be an unsigned integer"),
        ({"resourceVersionMatch": "Exact"}, "forbidden unless resourceVersion is provided"),
    ],
)
def test_queries_that_cannot_be_are_refused(http: httpx.Client, maps: str, query: dict[str, str], message: str) -> None:
    answer = http.get(maps, params=query)
    assert (answer.status_code, answer.json()["reason"]) == (400, "BadRequest")
    assert message in answer.json()["message"]


def test_pages_show_one_moment_whatever_happens_meanwhile(http: httpx.Client, maps: str) -> None:
    first = http.get(maps, params={"limit": 2}).json()
    assert (first["metadata"]["remainingItemCount"], len(first["items"])) == (3, 2)
    http.delete(f"{maps}/d")
    http.post(maps, json={"metadata": {"name": "dd"}})
    token = first["metadata"]["continue"]
    second = http.get(maps, params={"limit": 2, "continue": token}).json()
    third = http.get(maps, params={"limit": 2, "continue": second["metadata"]["continue"]}).json()
    assert [item["metadata"]["name"] for item in second["items"] + third["items"]] == [*"cde"]
    assert "continue" not in third["metadata"]
    assert first["metadata"]["resourceVersion"] == third["metadata"]["resourceVersion"]


def test_a_forgotten_page_is_gone(http: httpx.Client, maps: str) -> None:
    token = http.get(maps, params={"limit": 1}).json()["metadata"]["continue"]
    for _ in range(64):
        http.get(maps, params={"limit": 1})
    answer = http.get(maps, params={"limit": 1, "continue": token})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")


def test_resource_versions_of_lists(http: httpx.Client, maps: str) -> None:
    now = http.get(maps).json()["metadata"]["resourceVersion"]
    assert http.get(maps, params={"resourceVersion": now, "resourceVersionMatch": "Exact"}).status_code == 200
    assert http.get(maps, params={"resourceVersion": "1", "resourceVersionMatch": "NotOlderThan"}).status_code == 200
    past = http.get(maps, params={"resourceVersion": "1", "resourceVersionMatch": "Exact"})
    assert (past.status_code, past.json()["reason"]) == (410, "Expired")
    future = http.get(maps, params={"resourceVersion": str(int(now) + 1000)})
    assert future.status_code == 504
    assert future.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_tables_carry_cells_and_metadata(http: httpx.Client, maps: str) -> None:
    table = http.get(maps, headers=TABLE, params={"labelSelector": "kind"}).json()
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert [row["cells"][:2] for row in table["rows"]] == [["a", 0], ["e", 0]]
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    whole = http.get(maps, headers=TABLE, params={"includeObject": "Object"}).json()
    assert whole["rows"][0]["object"]["kind"] == "ConfigMap"


def test_metadata_alone(http: httpx.Client, maps: str) -> None:
    answer = http.get(maps, headers=PARTIAL).json()
    assert answer["kind"] == "PartialObjectMetadataList"
    assert {*answer["items"][0]} == {"kind", "apiVersion", "metadata"}


def test_only_protobuf_cannot_be_had(http: httpx.Client, maps: str) -> None:
    proto = "application/vnd.kubernetes.protobuf"
    assert http.get(maps, headers={"accept": proto}).status_code == 406
    assert http.get(maps, headers={"accept": f"{proto},application/json"}).json()["kind"] == "ConfigMapList"


def test_a_collection_is_deleted_by_selector(http: httpx.Client, maps: str) -> None:
    deleted = http.delete(maps, params={"labelSelector": "kind=vowel"}).json()
    assert (deleted["kind"], len(deleted["items"])) == ("ConfigMapList", 2)
    assert names(http, maps) == "bcd"


def test_events_are_one_in_both_their_groups(http: httpx.Client, namespace: str) -> None:
    event = {
        "metadata": {"name": "e", "namespace": namespace},
        "note": "it happened",
        "regarding": {"kind": "Pod", "name": "p", "namespace": namespace},
        "reportingController": "test.dev/controller",
        "reportingInstance": "one",
        "action": "Testing",
        "reason": "Tested",
        "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    }
    made = http.post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", json=event)
    assert made.status_code == 201, made.text
    core = http.get(f"/api/v1/namespaces/{namespace}/events", params={"fieldSelector": "involvedObject.name=p"}).json()
    assert [item["message"] for item in core["items"]] == ["it happened"]
    assert http.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e").json()["regarding"]["name"] == "p"
