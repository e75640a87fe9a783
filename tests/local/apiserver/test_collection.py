"""What is deleted together: grace periods, finalizers, dependents, namespaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

MERGE = {"content-type": "application/merge-patch+json"}
Eventually = Callable[..., Any]


@pytest.fixture
def maps(namespace: str) -> str:
    """The path of the test's ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def make(http: httpx.Client, path: str, name: str, *owners: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Creates a ConfigMap with owners; returns it."""
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    body = {"metadata": {"name": name, **({"ownerReferences": references} if owners else {}), **metadata}}
    made: dict[str, Any] = http.post(path, json=body).raise_for_status().json()
    return made


def present(http: httpx.Client, path: str) -> str:
    """The names that exist."""
    return " ".join(item["metadata"]["name"] for item in http.get(path).json()["items"])


def test_finalizers_hold_an_object_until_the_last_is_gone(http: httpx.Client, maps: str) -> None:
    make(http, maps, "held", finalizers=["a.dev/one", "a.dev/two"])
    answer = http.delete(f"{maps}/held").json()
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 0
    marked = answer["metadata"]["deletionTimestamp"]
    assert http.delete(f"{maps}/held").json()["metadata"]["deletionTimestamp"] == marked
    more = {"metadata": {"finalizers": ["a.dev/one", "a.dev/two", "a.dev/three"]}}
    refused = http.patch(f"{maps}/held", json=more, headers=MERGE)
    assert "no new finalizers can be added if the object is being deleted" in refused.json()["message"]
    http.patch(f"{maps}/held", json={"metadata": {"finalizers": ["a.dev/two"]}}, headers=MERGE).raise_for_status()
    assert present(http, maps) == "held"
    http.patch(f"{maps}/held", json={"metadata": {"finalizers": []}}, headers=MERGE).raise_for_status()
    assert present(http, maps) == ""


def test_a_delete_has_preconditions(http: httpx.Client, maps: str) -> None:
    made = make(http, maps, "a")
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        answer = http.request("DELETE", f"{maps}/a", json={"preconditions": wrong})
        assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    right = {"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]}
    gone = http.request("DELETE", f"{maps}/a", json={"preconditions": right}).json()
    assert (gone["kind"], gone["status"], gone["details"]["name"]) == ("Status", "Success", "a")
    assert http.delete(f"{maps}/a").status_code == 404
    odd = http.request("DELETE", f"{maps}/a", json={"propagationPolicy": "Sideways"})
    assert odd.status_code == 422


def test_a_pod_on_a_node_gets_its_grace(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    spec = {"nodeName": "n", "terminationGracePeriodSeconds": 7, "containers": [{"name": "main", "image": "x"}]}
    for name in ("p", "q"):
        http.post(pods, json={"metadata": {"name": name}, "spec": spec}).raise_for_status()
    marked = http.delete(f"{pods}/p").json()
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    shorter = http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 2}).json()
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 2
    http.request("DELETE", f"{pods}/p", json={"gracePeriodSeconds": 0})
    assert present(http, pods) == "q"
    http.patch(f"{pods}/q/status", json={"status": {"phase": "Succeeded"}}, headers=MERGE)
    http.delete(f"{pods}/q")
    assert present(http, pods) == ""


def test_an_unscheduled_pod_goes_at_once(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    http.post(pods, json=pod).raise_for_status()
    assert http.delete(f"{pods}/p").json()["kind"] == "Pod"
    assert present(http, pods) == ""


def test_dependents_follow_their_owner_down_to_the_last(http: httpx.Client, maps: str, eventually: Eventually) -> None:
    child = make(http, maps, "child", make(http, maps, "owner"))
    make(http, maps, "grandchild", child)
    http.delete(f"{maps}/owner")
    eventually(lambda: present(http, maps) == "")


def test_a_dependent_of_two_stays_until_both_are_gone(http: httpx.Client, maps: str, eventually: Eventually) -> None:
    one, two = make(http, maps, "one"), make(http, maps, "two")
    make(http, maps, "shared", one, two)
    http.delete(f"{maps}/one")
    left = eventually(lambda: len(http.get(f"{maps}/shared").json()["metadata"]["ownerReferences"]) == 1)
    assert left
    http.delete(f"{maps}/two")
    eventually(lambda: present(http, maps) == "")


def test_a_dependent_without_an_owner_is_deleted(http: httpx.Client, maps: str, eventually: Eventually) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
    make(http, maps, "dangling", ghost)
    eventually(lambda: present(http, maps) == "")


def test_foreground_deletion_waits_for_the_dependents(http: httpx.Client, maps: str, eventually: Eventually) -> None:
    make(http, maps, "child", make(http, maps, "owner"), finalizers=["a.dev/slow"])
    http.delete(f"{maps}/owner", params={"propagationPolicy": "Foreground"})
    waiting = eventually(lambda: "deletionTimestamp" in http.get(f"{maps}/child").json()["metadata"])
    assert waiting
    assert http.get(f"{maps}/owner").json()["metadata"]["finalizers"] == ["foregroundDeletion"]
    http.patch(f"{maps}/child", json={"metadata": {"finalizers": None}}, headers=MERGE)
    eventually(lambda: present(http, maps) == "")


def test_orphans_lose_their_owner_and_stay(http: httpx.Client, maps: str, eventually: Eventually) -> None:
    make(http, maps, "child", make(http, maps, "owner"))
    http.delete(f"{maps}/owner", params={"propagationPolicy": "Orphan"})
    eventually(lambda: present(http, maps) == "child")
    assert "ownerReferences" not in http.get(f"{maps}/child").json()["metadata"]


def test_a_job_deleted_without_a_policy_leaves_its_pods(
    http: httpx.Client, namespace: str, eventually: Eventually
) -> None:
    jobs, pods = f"/apis/batch/v1/namespaces/{namespace}/jobs", f"/api/v1/namespaces/{namespace}/pods"
    spec = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "x"}]}
    job = http.post(jobs, json={"metadata": {"name": "j"}, "spec": {"template": {"spec": spec}}}).json()
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": job["metadata"]["uid"]}
    http.post(pods, json={"metadata": {"name": "p", "ownerReferences": [owner]}, "spec": spec}).raise_for_status()
    http.delete(f"{jobs}/j")
    eventually(lambda: present(http, jobs) == "")
    assert present(http, pods) == "p"


def test_a_namespace_goes_with_everything_in_it(http: httpx.Client, eventually: Eventually) -> None:
    http.post("/api/v1/namespaces", json={"metadata": {"name": "doomed"}}).raise_for_status()
    maps = "/api/v1/namespaces/doomed/configmaps"
    make(http, maps, "plain")
    make(http, maps, "held", finalizers=["a.dev/slow"])
    terminating = http.delete("/api/v1/namespaces/doomed").json()
    assert terminating["status"]["phase"] == "Terminating"
    eventually(lambda: present(http, maps) == "held")
    late = http.post(maps, json={"metadata": {"name": "late"}})
    assert (late.status_code, late.json()["reason"]) == (403, "Forbidden")
    assert late.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    http.patch(f"{maps}/held", json={"metadata": {"finalizers": None}}, headers=MERGE)
    eventually(lambda: http.get("/api/v1/namespaces/doomed").status_code == 404)


def test_the_first_namespaces_stay(http: httpx.Client) -> None:
    answer = http.delete("/api/v1/namespaces/default")
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    assert "this namespace may not be deleted" in answer.json()["message"]


def test_an_eviction_is_a_delete_that_budgets_can_stop(http: httpx.Client, namespace: str) -> None:
    pods = f"/api/v1/namespaces/{namespace}/pods"
    budgets = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
    pod = {"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    http.post(pods, json=pod).raise_for_status()
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}}
    http.post(budgets, json=budget).raise_for_status()
    status = {"disruptionsAllowed": 0, "currentHealthy": 1, "desiredHealthy": 1, "expectedPods": 1}
    http.patch(f"{budgets}/b/status", json={"status": status}, headers=MERGE).raise_for_status()
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    refused = http.post(f"{pods}/p/eviction", json=eviction)
    assert (refused.status_code, refused.json()["reason"]) == (429, "TooManyRequests")
    http.delete(f"{budgets}/b")
    assert http.post(f"{pods}/p/eviction", json=eviction).status_code == 201
    assert present(http, pods) == ""
