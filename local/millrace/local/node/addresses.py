"""Loopback addresses of pods: 127.64.0.0/10, so that every pod can serve on the port it likes.

The address follows from the pod's uid, so two nodes on one machine hardly ever choose the same, and is kept in the
pod's status, so it survives the node.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import islice

from millrace.base.errors import ReportError
from millrace.local.client.resources import Obj

RANGE = IPv4Network("127.64.0.0/10")
_TRIES = 64


def candidates(uid: str) -> Iterator[str]:
    """The addresses of the pod ``uid`` in order of preference; none ends in .0 or .255."""
    attempt = 0
    while True:
        digest = hashlib.sha256(f"{uid}/{attempt}".encode()).digest()
        middle = int.from_bytes(digest[:2]) % (RANGE.num_addresses // 256)
        last = digest[2] % 254 + 1
        yield str(IPv4Address(int(RANGE.network_address) + middle * 256 + last))
        attempt += 1


def tcp_ports(pod: Obj) -> list[int]:
    """The TCP ports that the pod's containers declare."""
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


def allocate(pod: Obj, taken: Collection[str], *, free: Callable[[str, Iterable[int]], bool] = is_free) -> str:
    """The pod's address: the one in its status, else its first candidate that nobody has and whose ports are free.

    Raises:
        ReportError: no candidate is free.
    """
    if pod["spec"].get("hostNetwork"):
        return "127.0.0.1"
    known = (pod.get("status") or {}).get("podIP")
    if known and known not in taken:
        return str(known)
    ports = tcp_ports(pod)
    for address in islice(candidates(pod["metadata"]["uid"]), _TRIES):
        if address not in taken and free(address, ports):
            return address
    raise ReportError(
        f"no free loopback address in {RANGE} after {_TRIES} tries for ports {ports}",
        hint="See what listens there: ss -ltn",
        reason="NoAddress",
    )
