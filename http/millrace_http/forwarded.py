"""Whom a proxy speaks for.

Behind a proxy all connections have its address. It says in ``X-Forwarded-For`` who came to it, at the end of what
others said before; so the last address that is no proxy's own is believed, and nothing before it. Of others than known
proxies nothing is believed: everybody can write that header.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network

_HEADER = b"x-forwarded-for"
# Of a header that says no address: all who write such count as one.
UNKNOWN = "?"


def is_proxy(address: str, proxies: Iterable[Network]) -> bool:
    """Whether an address is one of these; a mapped IPv4 address is the IPv4 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed.version == network.version and parsed in network for network in proxies)


def client(headers: Iterable[tuple[bytes, bytes]], proxies: Iterable[Network]) -> str:
    """The address that a proxy's request is for; empty where it says none but proxies, or nothing.

    Args:
        headers: with names in lower case.
        proxies: whose own addresses are passed over.
    """
    said = ",".join(value.decode("latin-1") for name, value in headers if name == _HEADER)
    for each in reversed(said.split(",")):
        address = each.strip()
        if not address or is_proxy(address, proxies):
            continue
        try:
            return str(ipaddress.ip_address(address))
        except ValueError:
            return UNKNOWN
    return ""
