"""Environments: references, expansion, and missing objects."""

from __future__ import annotations

import base64
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

from millrace_core.base.errors import RejectError
from millrace_local.node.environment import DownwardApi, MissingError, content, environment, expand, references
from millrace_local.node.launch import base_environment, launch

Obj = dict[str, Any]

POD = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u-1", "labels": {"app": "x"}, "annotations": {"a/b": "c"}},
    "spec": {
        "nodeName": "n",
        "containers": [{"name": "main", "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}],
    },
}
DOWNWARD = DownwardApi(POD, "127.64.0.9", "127.0.0.1", {"cpu": "8", "memory": "16Gi"})
SOURCES = {
    ("Secret", "s"): {"key": b"hush", "url": b"http://x"},
    ("ConfigMap", "c"): {"mode": b"fast"},
    ("Secret", "gone"): None,
}


def env(*variables: Obj, **container: Any) -> dict[str, str]:
    return environment({"name": "main", "env": list(variables), **container}, DOWNWARD, SOURCES)


def field(name: str, path: str) -> Obj:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def test_fields_of_the_pod_are_known() -> None:
    paths = {
        "metadata.name": "p",
        "metadata.namespace": "ns",
        "metadata.uid": "u-1",
        "metadata.labels['app']": "x",
        "metadata.annotations['a/b']": "c",
        "metadata.annotations['none']": "",
        "spec.nodeName": "n",
        "spec.serviceAccountName": "default",
        "status.podIP": "127.64.0.9",
        "status.hostIP": "127.0.0.1",
    }
    assert env(*(field(path, path) for path in paths)) == paths


def test_a_field_that_kubernetes_does_not_know_is_refused() -> None:
    with pytest.raises(RejectError, match=r"status\.phase"):
        env(field("X", "status.phase"))


def test_later_variables_may_refer_to_earlier_ones() -> None:
    found = env(
        field("IP", "status.podIP"),
        {"name": "URL", "value": "http://$(IP):80/$(LATER)$$(IP)"},
        {"name": "LATER", "value": "x"},
    )
    assert found["URL"] == "http://127.64.0.9:80/$(LATER)$(IP)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$$$(A)", "$1"), ("$(B)", "$(B)"), ("$A $", "$A $"), ("$(A", "$(A")],
)
def test_expansion_is_that_of_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


def test_secrets_and_config_maps_give_single_keys_and_all_of_them() -> None:
    found = environment(
        {
            "name": "main",
            "envFrom": [{"prefix": "S_", "secretRef": {"name": "s"}}, {"configMapRef": {"name": "c"}}],
            "env": [
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "key"}}},
                {"name": "mode", "value": "slow"},
            ],
        },
        DOWNWARD,
        SOURCES,
    )
    assert found == {"S_key": "hush", "S_url": "http://x", "mode": "slow", "KEY": "hush"}


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ({"secretKeyRef": {"name": "gone", "key": "k"}}, 'secret "gone" not found'),
        ({"configMapKeyRef": {"name": "c", "key": "k"}}, "couldn't find key k in ConfigMap ns/c"),
    ],
)
def test_what_is_missing_is_named_unless_it_is_optional(variable: Obj, message: str) -> None:
    with pytest.raises(MissingError, match=message):
        env({"name": "X", "valueFrom": variable})
    ((kind, reference),) = variable.items()
    assert env({"name": "X", "valueFrom": {kind: {**reference, "optional": True}}}) == {}


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1024"),
        ({"resource": "requests.memory"}, "0"),
        ({"resource": "limits.memory", "containerName": "other"}, str(16 * 2**30)),
    ],
)
def test_resources_are_whole_numbers_of_the_divisor(reference: Obj, expected: str) -> None:
    container = {"name": "side"} if reference.get("containerName") else POD["spec"]["containers"][0]  # type: ignore[index]
    variable = {"name": "X", "valueFrom": {"resourceFieldRef": reference}}
    assert environment({**container, "env": [variable]}, DOWNWARD, {})["X"] == expected


def test_all_references_are_found() -> None:
    container = {
        "envFrom": [{"secretRef": {"name": "a"}}],
        "env": [
            {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}},
            field("Y", "metadata.name"),
        ],
    }
    assert set(references(container)) == {("Secret", "a"), ("ConfigMap", "b")}


def test_secrets_are_decoded_and_config_maps_may_be_binary() -> None:
    binary = base64.b64encode(b"\xff\x00").decode()
    assert content({"kind": "Secret", "data": {"k": binary}}) == {"k": b"\xff\x00"}
    assert content({"kind": "ConfigMap", "data": {"t": "ü"}, "binaryData": {"k": binary}}) == {
        "t": "ü".encode(),
        "k": b"\xff\x00",
    }


def start(container: Obj, own: dict[str, str] | None = None) -> Any:
    mounts = {"/data": Path("/r/d"), "/dev/termination-log": Path("/r/t")}
    base = {"PATH": "/bin", "A": "base"}
    return launch(
        {"name": "main", **container},
        own or {},
        base=base,
        mounts=mounts,
        home=Path("/tmp"),
        python="/venv/python",
        marks={"MARK": "m"},
    )


def test_python_is_this_interpreter_and_words_are_expanded_then_rewritten() -> None:
    found = start(
        {"command": ["python", "-m", "x"], "args": ["$(DIR)/f", "--log=/dev/termination-log"]}, {"DIR": "/data"}
    )
    assert found.command == ("/venv/python", "-m", "x", "/r/d/f", "--log=/r/t")
    assert found.environ == {"PATH": "/bin", "A": "base", "DIR": "/r/d", "MARK": "m"}


def test_a_folder_that_is_not_there_gives_way_to_the_pods_own() -> None:
    assert start({"command": ["x"], "workingDir": "/no/such"}).folder == Path("/tmp")
    assert start({"command": ["x"], "workingDir": "/usr"}).folder == Path("/usr")


def test_the_marks_by_which_processes_are_found_again_are_not_the_containers_to_set() -> None:
    assert start({"command": ["x"]}, {"MARK": "another", "A": "own"}).environ["MARK"] == "m"
    assert start({"command": ["x"]}, {"A": "own"}).environ["A"] == "own"


def test_a_container_without_a_command_is_refused() -> None:
    with pytest.raises(RejectError, match="has no command"):
        start({"args": ["x"]})


def test_clients_of_every_kind_reach_the_pods_neighbours_directly() -> None:
    environ = base_environment(
        path="/bin",
        home=Path("/h"),
        host="p",
        address="127.64.0.9",
        proxy="http://127.0.0.1:18080",
        callers={},
    )
    bypassed = ["127.0.0.1", "localhost", "127.64.0.9"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value)
        for host in bypassed:
            assert urllib.request.proxy_bypass(host)
            assert not requests.utils.get_environ_proxies(f"http://{host}:8080/", no_proxy=None)
            client = httpx.Client()
            assert client._transport_for_url(httpx.URL(f"http://{host}:8080/")) is client._transport
        inside = "http://web.default.svc/"
        assert requests.utils.get_environ_proxies(inside, no_proxy=None)["http"] == "http://127.0.0.1:18080"
        assert client._transport_for_url(httpx.URL(inside)) is not client._transport
