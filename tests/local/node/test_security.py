"""What a pod asks of its user is kept, refused, or told to be not kept; nothing is left out silently."""

from __future__ import annotations

import os
from typing import Any

import pytest

from millrace_core.api.conditions import find
from millrace_core.base.errors import RejectError
from millrace_local.node.processes import gives_users
from millrace_local.node.security import IMAGE_USER, ProcessRights, User, no_namespaces, not_kept, process_rights
from tests.local.cluster import EmbeddedCluster

SOMEBODY, ROOT = User(1000, 1000), User(0, 0)
NUMBERS = "id -u; id -g; grep -E 'NoNewPrivs|CapEff' /proc/self/status"


def rights(node: User, own: dict[str, Any] | None = None, of_pod: dict[str, Any] | None = None) -> ProcessRights:
    container = {"name": "main", "securityContext": own}
    return process_rights({"spec": {"securityContext": of_pod, "containers": [container]}}, container, node)


@pytest.mark.parametrize(
    ("node", "own", "of_pod", "user"),
    [
        (SOMEBODY, None, None, None),
        (SOMEBODY, {"runAsNonRoot": True}, None, None),
        (SOMEBODY, {"runAsUser": 1000, "runAsGroup": 1000}, None, None),
        (SOMEBODY, {"runAsUser": 1000, "runAsGroup": 7}, None, User(1000, 7)),
        (SOMEBODY, {"runAsGroup": 7}, None, User(1000, 7)),
        (SOMEBODY, {"runAsUser": 5}, None, User(5, IMAGE_USER)),
        (SOMEBODY, {"runAsUser": 5}, {"runAsUser": 6, "runAsGroup": 7}, User(5, 7)),
        (SOMEBODY, {"runAsUser": None}, {"runAsUser": 6, "runAsGroup": 7}, User(6, 7)),
        (SOMEBODY, {"runAsUser": 0, "runAsGroup": 0}, None, User(0, 0)),
        (ROOT, None, None, None),
        (ROOT, {"runAsNonRoot": False}, {"runAsNonRoot": True}, None),
        (ROOT, None, {"runAsNonRoot": True}, User(IMAGE_USER, IMAGE_USER)),
        (ROOT, {"runAsNonRoot": True, "runAsUser": 9}, None, User(9, IMAGE_USER)),
    ],
)
def test_a_process_has_the_numbers_that_were_asked_for(
    node: User, own: dict[str, Any] | None, of_pod: dict[str, Any] | None, user: User | None
) -> None:
    assert rights(node, own, of_pod).user == user


@pytest.mark.parametrize("node", [SOMEBODY, ROOT])
def test_root_is_refused_to_who_must_not_be_root(node: User) -> None:
    with pytest.raises(RejectError, match=r"main\].securityContext.runAsUser: .*it is 0, and runAsNonRoot is true"):
        rights(node, {"runAsUser": 0}, {"runAsNonRoot": True})


@pytest.mark.parametrize(
    ("own", "field"),
    [({"privileged": True}, "privileged"), ({"capabilities": {"add": ["NET_ADMIN"]}}, "capabilities.add")],
)
def test_more_than_the_nodes_user_has_is_refused(own: dict[str, Any], field: str) -> None:
    with pytest.raises(RejectError, match=f"securityContext.{field}: cannot be given"):
        rights(SOMEBODY, own)
    assert rights(ROOT, own).user is None


def test_walls_that_are_not_there_are_named() -> None:
    pod = {
        "spec": {
            "securityContext": {"fsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": False},
            "hostUsers": False,
            "initContainers": [{"name": "first", "securityContext": {"seccompProfile": {"type": "Unconfined"}}}],
            "containers": [
                {
                    "name": "main",
                    "securityContext": {"readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        }
    }
    found = [
        "spec.securityContext.seccompProfile",
        "spec.securityContext.fsGroup",
        "spec.hostUsers",
        "spec.containers[main].securityContext.readOnlyRootFilesystem",
    ]
    assert list(not_kept(pod, SOMEBODY)) == found
    assert list(not_kept(pod, ROOT)) == [*found, "spec.containers[main].securityContext.capabilities.drop"]
    assert not_kept({"spec": {"containers": [{"name": "main"}]}}, ROOT) == ()


@pytest.mark.skipif(not gives_users(), reason="this machine has no user namespaces")
async def test_the_kernel_gives_what_was_asked_for(cluster: EmbeddedCluster) -> None:
    context = {"runAsUser": 4242, "runAsGroup": 43, "runAsNonRoot": True, "allowPrivilegeEscalation": False}
    probe = {"exec": {"command": ["sh", "-c", "test $(id -u) = 4242 && echo probed > probed"]}}
    script = f"{NUMBERS}; touch mine; until test -f probed; do sleep 0.1; done; cat probed"
    async with cluster.running():
        await cluster.pod(script, container={"securityContext": context, "startupProbe": probe})
        await cluster.phase("Succeeded")
        told = ["4242", "43", "CapEff:", "0000000000000000", "NoNewPrivs:", "1", "probed"]
        assert (await cluster.log()).split() == told


async def test_a_pod_that_may_not_be_root_is_not(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("id -u", securityContext={"runAsNonRoot": True})
        await cluster.phase("Succeeded")
        expected = os.getuid() or IMAGE_USER
        assert (await cluster.log()).strip() == str(expected)


async def test_a_contradiction_is_told_and_nothing_runs(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod("true", securityContext={"runAsNonRoot": True, "runAsUser": 0})
        assert "runAsNonRoot is true" in (await cluster.event("Failed"))["message"]
        pod = await cluster.until(lambda pod: "CreateContainerConfigError" in str(pod["status"]))
        waiting = pod["status"]["containerStatuses"][0]["state"]["waiting"]
        assert waiting["reason"] == "CreateContainerConfigError"
        assert "runAsNonRoot is true" in waiting["message"]


async def test_walls_that_are_not_there_are_a_condition(cluster: EmbeddedCluster) -> None:
    async with cluster.running():
        await cluster.pod(container={"securityContext": {"readOnlyRootFilesystem": True}})
        pod = await cluster.phase("Succeeded")
        told = find(pod["status"]["conditions"], "SecurityContextKept")
        assert told is not None
        assert (told["status"], told["reason"]) == ("False", "NoContainerRuntime")
        assert told["message"].endswith("does not keep spec.containers[main].securityContext.readOnlyRootFilesystem")


def test_a_refusal_names_the_list_that_the_container_is_in() -> None:
    first, main = ({"name": name, "securityContext": {"privileged": True}} for name in ("first", "main"))
    pod = {"spec": {"initContainers": [first], "containers": [main]}}
    for container, field in ((first, "initContainers[first]"), (main, "containers[main]")):
        for refused in (
            lambda one=container: process_rights(pod, one, SOMEBODY),
            lambda one=container: throw(no_namespaces(pod, one, SOMEBODY)),
        ):
            with pytest.raises(RejectError) as error:
                refused()
            assert error.value.field.startswith(f"spec.{field}.securityContext.")


def throw(error: Exception) -> None:
    raise error
