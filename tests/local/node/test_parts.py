"""The node's small pure parts: images, addresses, capacity, probes, GPUs."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError, ReportError, RetryError
from millrace_local.node.addresses import RANGE, allocate, candidates, check_local, is_free, parse_range
from millrace_local.node.images import is_runnable, repository
from millrace_local.node.machine import Machine, is_gpu_device
from millrace_local.node.probes import Probe, ProbeState, next_state, pause
from millrace_local.node.registration import machine_resources


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("busybox", "busybox"),
        ("busybox:1.36", "busybox"),
        ("registry:5000/team/app", "registry:5000/team/app"),
        ("registry:5000/team/app:1@sha256:abc", "registry:5000/team/app"),
        ("millrace/materialize@sha256:abc", "millrace/materialize"),
    ],
)
def test_the_repository_is_what_precedes_tag_and_digest(image: str, name: str) -> None:
    assert repository(image) == name


def test_millraces_own_images_run_from_any_registry_and_others_when_named() -> None:
    assert is_runnable("ghcr.io/x/millrace/inference:0.1", ())
    assert is_runnable("millrace/inference", ())
    assert not is_runnable("millrace/trainer", ())
    assert not is_runnable("notmillrace/inference", ())
    assert is_runnable("localhost:5000/team/trainer:2", {"team/trainer"})


def pod(uid: str = "u", ip: str = "", port: int = 0, **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "ports": [{"containerPort": port}] if port else []}
    return {"metadata": {"uid": uid}, "spec": {"containers": [container], **spec}, "status": {"podIP": ip}}


@given(st.uuids().map(str))
def test_addresses_follow_from_the_uid_and_lie_in_their_range(uid: str) -> None:
    first = list(islice(candidates(uid), 5))
    assert first == list(islice(candidates(uid), 5))
    assert all(IPv4Address(address) in RANGE and address.rsplit(".", 1)[1] not in ("0", "255") for address in first)


def test_an_address_is_kept_over_restarts_and_never_shared() -> None:
    first, second = islice(candidates("u"), 2)
    assert allocate(pod(), ()) == first
    assert allocate(pod(), {first}) == second
    assert allocate(pod(ip="127.70.1.2"), ()) == "127.70.1.2"
    assert allocate(pod(ip=first), {first}) == second
    assert allocate(pod(hostNetwork=True), ()) == "127.0.0.1"


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


def test_an_address_whose_port_somebody_holds_is_passed_over() -> None:
    first, second = islice(candidates("u"), 2)
    with socket.socket() as held:
        held.bind((first, 0))
        held.listen()
        port = held.getsockname()[1]
        assert not is_free(first, [port])
        assert allocate(pod(port=port), ()) == second
    with pytest.raises(ReportError, match=r"no free address in 127.64.0.0/10"):
        allocate(pod(port=1), (), free=lambda _address, _ports: False)


def test_the_node_offers_more_than_it_has_but_never_a_gpu_twice() -> None:
    assert machine_resources(2, 4 * 2**30, 1) == {
        "cpu": "2",
        "memory": "4194304Ki",
        "pods": "110",
        "nvidia.com/gpu": "1",
    }
    assert machine_resources(2, 4 * 2**30, 1, overcommit=4) == {
        "cpu": "8000m",
        "memory": "16777216Ki",
        "pods": "110",
        "nvidia.com/gpu": "1",
    }


def test_only_numbered_nvidia_devices_are_gpus() -> None:
    names = ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"]
    assert [name for name in names if is_gpu_device(name)] == ["nvidia0", "nvidia12"]


def test_each_gpu_belongs_to_one_pod_and_others_see_none() -> None:
    def wants(uid: str, count: int) -> dict[str, Any]:
        limits = {"nvidia.com/gpu": str(count)} if count else {}
        return {"metadata": {"uid": uid}, "spec": {"containers": [{"resources": {"limits": limits}}]}}

    machine = Machine(*[SimpleNamespace()] * 6, allocatable={"nvidia.com/gpu": "2"})  # type: ignore[arg-type]
    assert machine.gpus(wants("a", 1))["CUDA_VISIBLE_DEVICES"] == "0"
    assert machine.gpus(wants("a", 1))["CUDA_VISIBLE_DEVICES"] == "0"
    assert machine.gpus(wants("b", 1))["CUDA_VISIBLE_DEVICES"] == "1"
    assert machine.gpus(wants("c", 0))["CUDA_VISIBLE_DEVICES"] == "-1"
    with pytest.raises(RetryError, match="0 of 2 free"):
        machine.gpus(wants("c", 1))
    machine.release(wants("a", 1))
    assert machine.gpus(wants("c", 1))["CUDA_VISIBLE_DEVICES"] == "0"


def readiness(**spec: Any) -> Probe:
    return Probe.of("readiness", spec)


def probe_state_of(probe: Probe, answers: list[bool], step: float) -> ProbeState:
    probe_state = ProbeState(counted_at=probe.delay)
    for number, ok in enumerate(answers, start=1):
        probe_state = next_state(probe, probe_state, ok, number * step)
    return probe_state


def test_a_probe_passes_and_fails_after_its_thresholds() -> None:
    probe = readiness(periodSeconds=10, failureThreshold=2, successThreshold=2)
    assert probe_state_of(probe, [True], 10).passed is None
    assert probe_state_of(probe, [True, True], 10).passed is True
    assert probe_state_of(probe, [True, True, False], 10).passed is True
    assert probe_state_of(probe, [True, True, False, False], 10).passed is False
    assert probe_state_of(probe, [True, True, False, True, False], 10).passed is True


def test_eager_looks_do_not_use_up_the_failures() -> None:
    probe = Probe.of("startup", {"periodSeconds": 1, "failureThreshold": 3, "httpGet": {}})
    assert pause(probe, ProbeState(), 0.5) == 0.1
    assert probe_state_of(probe, [False] * 29, 0.1).passed is None
    assert probe_state_of(probe, [False] * 32, 0.1).passed is False


def test_the_usual_pace_comes_back_with_the_first_success_or_when_it_takes_too_long() -> None:
    probe = readiness(periodSeconds=5, httpGet={})
    assert pause(probe, probe_state_of(probe, [True], 1), 1.0) == 5
    assert pause(probe, ProbeState(), 31.0) == 5
    assert pause(readiness(periodSeconds=5, exec={}), ProbeState(), 1.0) == 0.5
    assert pause(Probe.of("liveness", {"periodSeconds": 5}), ProbeState(), 1.0) == 5
