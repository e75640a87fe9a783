"""Access control on demand: the server refuses what no grant allows, in Kubernetes' words, and tells what was used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of

MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"
APPLY = {"content-type": "application/apply-patch+yaml"}


@pytest.fixture
def someone(faulty: RunningServer) -> Iterator[httpx.Client]:
    """A client whom the grants are about."""
    with client_of(faulty, **{"user-agent": "someone/1"}) as client:
        yield client
        client.delete("/faults/access")


def grant(client: httpx.Client, *grants: dict[str, Any]) -> None:
    answer = client.put("/faults/access", json={"userAgent": "someone", "grants": list(grants)})
    assert answer.status_code == 200, answer.text


def rule(resource: str, *verbs: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": [resource], "verbs": list(verbs), **more}


def applied(client: httpx.Client, path: str, name: str, **metadata: Any) -> int:
    kind = "Secret" if path == SECRETS else "ConfigMap"
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **metadata}}
    return client.patch(f"{path}/{name}?fieldManager=t", json=body, headers=APPLY).status_code


def test_what_no_grant_allows_is_refused_in_kubernetes_words(someone: httpx.Client, faulty: RunningServer) -> None:
    grant(someone, rule("configmaps", "list", namespace="default"))
    assert someone.get(MAPS).status_code == 200
    assert someone.get("/api/v1/configmaps").status_code == 403
    refused = someone.get(f"{SECRETS}/s")
    assert (refused.status_code, refused.json()["reason"]) == (403, "Forbidden")
    assert refused.json()["message"] == (
        'secrets "s" is forbidden: User "someone/1" cannot get resource "secrets" in API group "" in the namespace '
        '"default"'
    )
    with client_of(faulty) as another:
        assert another.get(SECRETS).status_code == 200
    seen = someone.get("/faults/access").json()
    assert [(each["resource"], each["verb"], each["namespace"]) for each in seen["used"]] == [
        ("configmaps", "list", "default")
    ]
    assert [(each["resource"], each["verb"], each["namespace"]) for each in seen["denied"]] == [
        ("configmaps", "list", ""),
        ("secrets", "get", "default"),
    ]


def test_an_apply_that_creates_needs_both_rights_and_a_name_restricts_both(someone: httpx.Client) -> None:
    grant(someone, rule("configmaps", "patch"))
    assert applied(someone, MAPS, "a") == 403
    grant(someone, rule("configmaps", "patch", "create", resourceNames=["a"]))
    assert applied(someone, MAPS, "b") == 403
    assert applied(someone, MAPS, "a") == 201
    grant(someone, rule("configmaps", "patch"))
    assert applied(someone, MAPS, "a") == 200


def test_an_owner_whose_deletion_is_held_up_is_asked_about(someone: httpx.Client) -> None:
    grant(someone, rule("configmaps", "patch", "create"))
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u"}
    blocking = {**owner, "blockOwnerDeletion": True}
    assert applied(someone, MAPS, "c", ownerReferences=[owner]) == 201
    assert applied(someone, MAPS, "d", ownerReferences=[blocking]) == 403
    grant(someone, rule("configmaps", "patch", "create"), rule("deployments/finalizers", "update", group="apps"))
    assert applied(someone, MAPS, "d", ownerReferences=[blocking]) == 201


def test_who_gives_an_object_another_owner_needs_the_right_to_delete_it(someone: httpx.Client) -> None:
    grant(someone, rule("configmaps", "patch", "create", "get"))
    owners = []
    for name in ("owner", "other"):
        assert applied(someone, MAPS, name) == 201
        uid = someone.get(f"{MAPS}/{name}").json()["metadata"]["uid"]
        owners.append({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid})
    assert applied(someone, MAPS, "owned", ownerReferences=owners[:1]) == 201
    assert applied(someone, MAPS, "owned", ownerReferences=owners[:1]) == 200
    assert applied(someone, MAPS, "owned", ownerReferences=owners) == 403
    grant(someone, rule("configmaps", "patch", "create", "delete"))
    assert applied(someone, MAPS, "owned", ownerReferences=owners) == 200


def test_a_subresource_has_a_right_of_its_own(someone: httpx.Client) -> None:
    grant(someone, rule("namespaces", "patch"))
    answer = someone.patch(
        "/api/v1/namespaces/default/status", json={}, headers={"content-type": "application/merge-patch+json"}
    )
    assert answer.status_code == 403
    assert 'cannot patch resource "namespaces/status"' in answer.json()["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"userAgent": "x"}', b'{"userAgent": "x", "grants": [{"a": 1}]}'])
def test_what_is_no_grant_is_refused(someone: httpx.Client, body: bytes) -> None:
    assert someone.put("/faults/access", content=body).status_code == 400
