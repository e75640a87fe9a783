"""Which callers a server on loopback takes for programs of its user, and which for web pages. Pure.

A page that a browser shows may send requests to every address of the machine. It is known by three things:

- ``Host``: the page's own name, where that was made to resolve to this machine ("DNS rebinding"); so only known names
  are let in;
- ``Origin``: browsers send it with every request to another site but plain GETs, and pages cannot leave it out;
- ``Content-Type``: without asking first, a page may send only ``text/plain``, the two types of forms, and none at all
  (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

# What the mesh of the laptop mode adds to each request to a service: a secret that it shares with the pods.
MESH_HEADER = b"x-millrace-mesh"

_SENT_BY_PAGES = frozenset({"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class CallerRule:
    """Tells programs from web pages.

    Args:
        hosts: the names that a request may have as ``Host``: names, ``*.suffix``, addresses, networks.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._networks: list[IPv4Network | IPv6Network] = []
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        for host in (one.lower() for one in hosts):
            network = _network(host)
            if network is not None:
                self._networks.append(network)
            elif host.startswith("*."):
                self._suffixes += (host[1:],)
            else:
                self._names.add(host)

    def knows(self, host: str) -> bool:
        """Whether a ``Host`` header, with or without a port, has a known name."""
        name = host_name(host)
        if name in self._names or (name.endswith(self._suffixes) and not name.startswith(".")):
            return True
        try:
            address = ip_address(name)
        except ValueError:
            return False
        return any(address in network for network in self._networks)

    def refusal_of_sender(self, host: str, origin: str | None) -> str:
        """Why a request with these headers is not taken (403), "" where it is."""
        if not self.knows(host):
            return f"this server is not known as {host[:100]!r}; call it by its Service's name or its address"
        if origin is not None and not is_same_site(origin, host):
            return f"requests of web pages of other sites are refused; this one has Origin {origin[:100]!r}"
        return ""


def is_same_site(origin: str, host: str) -> bool:
    """Whether an ``Origin`` is that of the very server that ``Host`` names."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def refusal_of_body(content_type: str) -> str:
    """Why a body with this ``Content-Type`` is not taken (415), "" where it is."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _SENT_BY_PAGES:
        return ""
    given = f"Content-Type {kind}" if kind else "no Content-Type"
    return (
        f"the body has {given}, which every web page may send; "
        "send what it is, such as Content-Type: application/json (curl: --json in place of -d)"
    )


def host_name(host: str) -> str:
    """The name in a ``Host`` header: without port, brackets and final dot, in lower case."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].removesuffix(".")


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
