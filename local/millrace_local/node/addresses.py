"""Local addresses of pods, by default of 127.64.0.0/10: each pod has one of its own, so ports of pods never clash.

The address follows from the pod's uid, so two nodes on one machine rarely choose the same. A pod that the next node
starts again has another, as after the restart of a machine in Kubernetes: endpoints and routes still have the old one
as ready, and must not reach a process that was not seen to be ready.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.resources import Object

RANGE = IPv4Network("127.64.0.0/10")
LONGEST_PREFIX = 24
_TRIES = 64


def parse_range(text: str) -> IPv4Network:
    """The network that ``--pod-cidr`` names.

    Raises:
        RejectError: it is no IPv4 network, or one of fewer than 256 addresses.
    """
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise RejectError(
            f"{text!r} is no network: {error}", hint=f"For example {RANGE}", field="--pod-cidr"
        ) from error
    if network.prefixlen > LONGEST_PREFIX:
        raise RejectError(
            f"{network} has {network.num_addresses} addresses, and pods need 256 or more",
            hint=f"Give a prefix of at most /{LONGEST_PREFIX}",
            field="--pod-cidr",
        )
    return network


def check_local(network: IPv4Network) -> None:
    """Checks that this machine can listen on the addresses of ``network``.

    Raises:
        RejectError: it cannot; says how to add a route.
    """
    with socket.socket() as probe:
        try:
            probe.bind((str(network[1]), 0))
        except OSError as error:
            raise RejectError(
                f"the addresses of {network} are not this machine's: {error.strerror}",
                hint=f"Make them so: sudo ip route add local {network} dev lo",
                field="--pod-cidr",
            ) from error


def candidates(identity: str, network: IPv4Network = RANGE) -> Iterator[str]:
    """Addresses for ``identity`` in ``network``, in order of preference; none ends in .0 or .255."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{identity}/{attempt}".encode()).digest()
        middle = int.from_bytes(digest[:2]) % (network.num_addresses // 256)
        last = digest[2] % 254 + 1
        yield str(IPv4Address(int(network.network_address) + middle * 256 + last))
        attempt += 1


def tcp_ports(pod: Object) -> list[int]:
    """The TCP ports in the pod's spec."""
    return [
        port["containerPort"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or []
        if port.get("protocol", "TCP") == "TCP"
    ]


def is_free(address: str, ports: Iterable[int]) -> bool:
    """Whether nobody listens on these ports of the address."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except PermissionError:
                continue  # a low port: whether it is free shows when the container binds it
            except OSError:
                return False
    return True


def allocate(
    pod: Object,
    taken: Collection[str],
    network: IPv4Network = RANGE,
    *,
    free: Callable[[str, Iterable[int]], bool] = is_free,
) -> str:
    """An address for a pod that starts: its first candidate that is not taken, not the one that it had with an earlier
    node, and whose ports are free.

    Raises:
        ReportError: no candidate is free.
    """
    if pod["spec"].get("hostNetwork"):
        return "127.0.0.1"
    status = pod.get("status") or {}
    restarts = sum(one.get("restartCount", 0) for one in status.get("containerStatuses") or [])
    not_these = {*taken, status.get("podIP")}
    ports = tcp_ports(pod)
    for address in islice(candidates(f"{pod['metadata']['uid']}/{restarts}", network), _TRIES):
        if address not in not_these and free(address, ports):
            return address
    raise ReportError(
        f"no free address in {network} after {_TRIES} tries for ports {ports}",
        hint="See what listens there: ss -ltn",
        reason="NoAddress",
    )
