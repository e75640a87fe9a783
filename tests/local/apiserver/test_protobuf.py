"""Protobuf bodies: those of Go clients are read, damaged ones refused."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_local.apiserver.protobuf import UndecodableError, UnknownMessageError, decode
from tests.local.apiserver.conftest import KubectlProcess


def field(number: int, value: bytes | str | int) -> bytes:
    """One field in the wire format."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """An integer in the wire format."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def body(api_version: str, kind: str, message: bytes) -> bytes:
    """A whole request body."""
    return b"k8s\0" + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


SECRET = body(
    "v1",
    "Secret",
    field(1, field(1, "token") + field(2, "") + field(8, b"") + field(11, field(1, "a") + field(2, "")))
    + field(2, field(1, "key") + field(2, b"\x00\xff"))
    + field(3, "Opaque")
    + field(5, 0),
)


def test_a_message_becomes_the_object_that_json_would_hold() -> None:
    assert decode(SECRET) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "token", "labels": {"a": ""}},
        "data": {"key": "AP8="},
        "type": "Opaque",
        "immutable": False,
    }


def test_zeros_count_only_where_go_has_a_pointer() -> None:
    scale_down = field(2, field(1, 0) + field(5, 0) + field(7, 0))
    assert decode(body("apps/v1", "Deployment", scale_down))["spec"] == {"replicas": 0}


def test_times_quantities_and_ports_are_written_as_json_has_them() -> None:
    lease = field(2, field(1, "me") + field(3, field(1, 1_767_225_600) + field(2, 5_000)))
    assert decode(body("coordination.k8s.io/v1", "Lease", lease))["spec"] == {
        "holderIdentity": "me",
        "acquireTime": "2026-01-01T00:00:00.000005Z",
    }
    quota = field(2, field(1, field(1, "pods") + field(2, field(1, "3"))))
    assert decode(body("v1", "ResourceQuota", quota))["spec"] == {"hard": {"pods": "3"}}
    ports = [
        field(1, "a") + field(3, 80) + field(4, field(1, 0) + field(2, 8080)),
        field(4, field(1, 1) + field(3, "web")),
    ]
    service = field(2, b"".join(field(1, port) for port in ports))
    listed = decode(body("v1", "Service", service))["spec"]["ports"]
    assert [port["targetPort"] for port in listed] == [8080, "web"]


def test_a_cut_off_body_is_refused_wherever_it_is_cut() -> None:
    for end in range(len(SECRET)):
        try:
            decoded = decode(SECRET[:end])
        except UndecodableError:
            continue
        # A cut between two fields of the envelope leaves a message without content.
        assert "data" not in decoded


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_never_breaks_the_server(garbage: bytes) -> None:
    for prefix in (b"", b"k8s\0", SECRET[:40]):
        try:
            decode(prefix + garbage)
        except UndecodableError:
            continue


def test_an_unknown_kind_is_refused_with_what_to_do(http: httpx.Client, namespace: str) -> None:
    with pytest.raises(UnknownMessageError):
        decode(body("example.dev/v1", "Widget", b""))
    headers = {"content-type": "application/vnd.kubernetes.protobuf"}
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    refused = http.post(path, content=body("example.dev/v1", "Widget", b""), headers=headers)
    assert (refused.status_code, refused.json()["reason"]) == (415, "UnsupportedMediaType")
    assert "Widget in 'example.dev/v1' is not read as protobuf. Send JSON" in refused.json()["message"]
    cut = http.post(path, content=SECRET[:30], headers=headers)
    assert (cut.status_code, cut.json()["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    "command",
    [
        "create configmap made --from-literal=a=b",
        "create secret generic made --from-literal=a=b",
        "create deployment made --image=nginx --port=80 --replicas=0",
        "create job made --image=busybox -- sh -c true",
        "create cronjob made --image=busybox --schedule=@hourly",
        "create serviceaccount made",
        "create role made --verb=get --resource=pods",
        "create rolebinding made --role=made --serviceaccount=default:made",
        "create quota made --hard=pods=3",
        "create poddisruptionbudget made --min-available=1 --selector=a=b",
        "create ingress made --rule=example.com/path=web:80",
        "create service clusterip made --tcp=80:8080",
        "autoscale deployment made --max=3",
    ],
)
def test_kubectl_creates_by_command(kubectl: KubectlProcess, command: str) -> None:
    if command.startswith("autoscale"):
        kubectl("create", "deployment", "made", "--image=nginx")
    assert kubectl(*command.split()).split()[-1] in ("created", "autoscaled")


def test_kubectl_asks_what_it_may_do_and_who_it_is(kubectl: KubectlProcess) -> None:
    assert kubectl("auth", "can-i", "create", "deployments") == "yes\n"
    assert "millrace" in kubectl("auth", "whoami")
