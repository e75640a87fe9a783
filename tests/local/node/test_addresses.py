"""Addresses of pods."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from itertools import islice, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, ReportError
from millrace_local.node.addresses import RANGE, allocate, candidates, check_local, is_free, parse_range


def pod(uid: str = "u", ip: str = "", port: int = 0, restarts: int = 0, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "ports": [{"containerPort": port}] if port else []}
    status = {"podIP": ip, "containerStatuses": [{"name": "c", "restartCount": restarts}]} if ip else {}
    return {"metadata": {"uid": uid}, "spec": {"containers": [container], **spec}, "status": status}


@given(st.uuids().map(str))
def test_addresses_follow_from_the_uid_and_lie_in_their_range(uid: str) -> None:
    first = list(islice(candidates(uid), 5))
    assert first == list(islice(candidates(uid), 5))
    assert all(IPv4Address(address) in RANGE and address.rsplit(".", 1)[1] not in ("0", "255") for address in first)


def test_an_address_is_never_shared() -> None:
    first, second = islice(candidates("u/0"), 2)
    assert allocate(pod(), ()) == first
    assert allocate(pod(), {first}) == second
    assert allocate(pod(hostNetwork=True), ()) == "127.0.0.1"


@given(st.uuids().map(str), st.integers(2, 6))
def test_a_pod_has_another_address_with_every_node_that_starts_it(uid: str, nodes: int) -> None:
    lives = [allocate(pod(uid), (), free=lambda _address, _ports: True)]
    for restarts in range(nodes):
        lives.append(allocate(pod(uid, lives[-1], restarts=restarts), (), free=lambda _address, _ports: True))
    assert all(one != other for one, other in pairwise(lives))


def test_a_pod_does_not_come_back_to_the_address_before_the_last_one() -> None:
    first = allocate(pod(), ())
    second = allocate(pod(ip=first), ())
    assert len({first, second, allocate(pod(ip=second, restarts=1), ())}) == 3


def test_pods_get_addresses_of_the_given_range_and_leave_those_of_another() -> None:
    network = parse_range("127.200.3.0/24")
    assert IPv4Address(allocate(pod(ip="127.70.1.2"), (), network)) in network
    assert all(IPv4Address(address) in network for address in islice(candidates("u", network), 50))
    check_local(network)


def test_a_range_that_pods_cannot_use_is_refused_with_what_to_do() -> None:
    with pytest.raises(RejectError, match=r"--pod-cidr: '10.0.0.1/8' is no network"):
        parse_range("10.0.0.1/8")
    with pytest.raises(RejectError, match=r"127.1.2.0/25 has 128 addresses, and pods need 256"):
        parse_range("127.1.2.0/25")
    with pytest.raises(RejectError, match=r"192.0.2.0/24 are not .* sudo ip route add local 192.0.2.0/24 dev lo"):
        check_local(parse_range("192.0.2.0/24"))


def test_an_address_whose_port_is_in_use_is_skipped() -> None:
    first, second = islice(candidates("u/0"), 2)
    with socket.socket() as held:
        held.bind((first, 0))
        held.listen()
        port = held.getsockname()[1]
        assert not is_free(first, [port])
        assert allocate(pod(port=port), ()) == second
    with pytest.raises(ReportError, match=r"no free address in 127.64.0.0/10"):
        allocate(pod(port=1), (), free=lambda _address, _ports: False)
