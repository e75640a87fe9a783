"""Bodies and queries that no client of Kubernetes sends: refused with a 4xx, never an error of the server."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

DEEP = b"[" * 900 + b"]" * 900
METADATA: list[Any] = [5, [], "x", None, {"name": 5}, {"name": "x", "labels": [1]}, {"name": "x", "labels": {"a": 5}}]
METADATA += [{"name": "x", field: value} for field in ("ownerReferences", "finalizers") for value in (5, [5], {}, [{}])]
METADATA += [{"name": "x", "resourceVersion": value} for value in (5, {}, "-1", "x" * 1000, "9" * 5000)]
METADATA += [{"name": "x", "managedFields": value} for value in (5, [5], {})]
METADATA += [{"name": "x", "generateName": 5}, {"name": "x", "namespace": 5}, {"name": "\0"}, {"name": "x", "uid": 5}]
METADATA += [{"name": "x", "deletionTimestamp": 5}, {"name": "x", "annotations": {"a": {}}}, {"name": "x" * 10**5}]
BODIES: list[bytes] = [
    b"",
    b"\xff",
    b"5",
    b"null",
    b"{",
    b'{"a": "\\ud800"}',
    DEEP,
    b'{"metadata": {"name": "x"}, "data": ' + DEEP + b"}",
    *(orjson.dumps({"metadata": each, "data": {}}) for each in METADATA),
    *(
        b'{"metadata": {"name": "x"}, "data": ' + each + b"}"
        for each in (b"5", b"[]", b'{"a": 5}', b'{"a": 18446744073709551616}', b"1e308", b'{"a": ' + DEEP + b"}")
    ),
]
TYPES = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
PATCHES = [f"application/{kind}" for kind in ("merge-patch+json", "json-patch+json", "strategic-merge-patch+json")]
PATCHES.append("application/apply-patch+yaml")
QUERIES = [
    f"{name}={value}"
    for name in ("limit", "timeoutSeconds", "resourceVersion", "continue", "watch", "fieldSelector")
    for value in ("x", "-1", "9" * 400, "%FF", "%00", "=", "a%3D%3D%3D", "{")
]
QUERIES += ["labelSelector=" + value for value in ("((", "a in (", "%FF", "a%3D" * 100, "!", "a notin b")]


def fault(answer: httpx.Response) -> str:
    # 504 is Kubernetes' own answer to a resourceVersion of the future.
    return f"{answer.status_code}: {answer.text[:300]}" if answer.status_code not in (*range(200, 500), 504) else ""


def test_no_body_is_an_error_of_the_server(http: httpx.Client, namespace: str) -> None:
    path, faults = f"/api/v1/namespaces/{namespace}/configmaps", {}
    http.post(path, json={"metadata": {"name": "there"}})
    for number, body in enumerate(BODIES):
        for media in TYPES:
            for method, where in (("POST", path), ("PUT", f"{path}/there"), ("DELETE", f"{path}/absent")):
                answer = http.request(method, where, content=body, headers={"content-type": media})
                faults[method, media, body[:200], number] = fault(answer)
        for media in PATCHES:
            where = f"{path}/there?fieldManager=me"
            answer = http.patch(where, content=body, headers={"content-type": media})
            faults["PATCH", media, body[:200], number] = fault(answer)
    assert {key: said for key, said in faults.items() if said} == {}


def test_no_query_is_an_error_of_the_server(http: httpx.Client, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    faults = {query: fault(http.get(f"{path}?{query}")) for query in QUERIES}
    assert {key: said for key, said in faults.items() if said} == {}
