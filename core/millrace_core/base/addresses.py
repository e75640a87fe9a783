"""Hosts and addresses as they are written, and what network an address is in. Pure.

Hosts have one notation (lower-case ASCII names, dotted quads, IPv6), so that no two libraries can read two hosts from
one text. Special networks: IANA's registries (RFC 6890), and the addresses at which clouds hand out credentials of a
machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# A last label that is a number makes resolvers read the whole name as an address in one of its older forms.
_NUMBER: Final = re.compile(r"([0-9]+|0x[0-9a-f]*)")
# IPv6 addresses that stand for an IPv4 address: how far right it is in them. IPv4-compatible, mapped, translated,
# NAT64 (RFC 6052), 6to4 (RFC 3056).
_EMBEDDED: Final = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
_METADATA: Final = (
    "169.254.169.254/32",  # AWS, Azure, Google, OpenStack and most others
    "169.254.170.2/32",  # tasks of AWS
    "169.254.170.23/32",  # pods of AWS
    "168.63.129.16/32",  # Azure's hosts
    "100.100.100.200/32",  # Alibaba
    "192.0.0.192/32",  # Oracle
    "fd00:ec2::254/128",
    "fd00:ec2::23/128",
    "fd20:ce::254/128",
    "fd00:c1::a9fe:a9fe/128",
    "fd00:42::42/128",
)
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10")
# The first that holds an address counts; what is in none is public where IANA says that it is.
_KINDS: Final[Sequence[tuple[str, tuple[Network, ...]]]] = tuple(
    (kind, tuple(ipaddress.ip_network(each) for each in networks))
    for kind, networks in (
        ("metadata", _METADATA),
        ("unspecified", ("0.0.0.0/8", "::/128")),
        ("loopback", ("127.0.0.0/8", "::1/128")),
        ("link-local", ("169.254.0.0/16", "fe80::/10")),
        ("multicast", ("224.0.0.0/4", "ff00::/8")),
        ("private", _PRIVATE),
        ("reserved", ("240.0.0.0/4", "64:ff9b:1::/48", "2001::/32")),
    )
)


def canonical(host: str) -> str | None:
    """A host in lower case, without the dot at its end; None where it has more than one reading, or none."""
    text = host.lower().removesuffix(".") if host.isascii() else ""
    if ":" in text:
        found = parsed(text) if "%" not in text else None
        return None if found is None else str(found)
    if _NAME.fullmatch(text) is None:
        return None
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        return text if parsed(text) is not None else None
    return text


def is_old_form(host: str) -> bool:
    """Whether resolvers read a host as an address in one of its older forms, such as ``127.1`` or ``0x7f.1``."""
    text = host.lower().removesuffix(".")
    return ":" not in text and parsed(text) is None and _NUMBER.fullmatch(text.rpartition(".")[2]) is not None


def parsed(text: str) -> Address | None:
    """An address in its plain notation, with any zone left out; None: it is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def kind_of(address: Address, cluster: Sequence[Network] = ()) -> str:
    """What is behind an address: ``public``, ``private``, ``cluster``, ``loopback``, ``metadata`` and others."""
    found = special(address)
    if found is not None and found[0] != "private":
        return found[0]
    if any(inside(address, network) for network in cluster):
        return "cluster"
    if found is not None:
        return found[0]
    return "public" if address.is_global else "reserved"


def meant(address: Address) -> tuple[Address, ...]:
    """The address, or the IPv4 address that it stands for; both where it is one of its own as well."""
    if isinstance(address, IPv4Address) or special(address) is not None:
        return (address,)
    for network, shift in _EMBEDDED:
        if address in network:
            inner = IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
            return (inner,) if shift == 0 else (inner, address)
    return (address,)


@lru_cache(maxsize=4096)
def special(address: Address) -> tuple[str, Network] | None:
    """The kind of a special network that an address is in, and that network; None: it is in none."""
    for kind, networks in _KINDS:
        for network in networks:
            if inside(address, network):
                return kind, network
    return None


def inside(address: Address, network: Network) -> bool:
    """Whether a network holds an address; none of the other version does."""
    return address.version == network.version and address in network


def within(inner: Network, outer: Network) -> bool:
    """Whether a network holds nothing that another does not hold."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
