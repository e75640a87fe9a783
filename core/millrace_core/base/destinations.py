"""Where connections may go that somebody's object asks for: one pure rule, with the settings that it reads.

A name is judged twice: as it is written, before anything is asked about it, and by every address that it resolves to,
all of which must be allowed.

Private networks are refused unless they are allowed: databases are there, and so are the Services and pods of the
cluster, whose networks Kubernetes tells nobody. Whoever runs the platform knows which is which and writes it down once;
a rule that guessed would open the cluster's own API to a name that somebody else owns.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Json, model_validator
from pydantic.alias_generators import to_camel

from millrace_core.base import open_destinations
from millrace_core.base.addresses import (
    Address,
    Network,
    canonical,
    inside,
    is_old_form,
    kind_of,
    meant,
    parsed,
    special,
    within,
)
from millrace_core.base.settings import Settings
from millrace_core.base.shown import shown

# The setting, as messages name it.
SETTING: Final = "outgoing"

_METADATA_NAMES: Final = frozenset(
    ("metadata", "instance-data", "metadata.goog", "metadata.google.internal", "metadata.azure.internal")
)
_PHRASES: Final = {
    "metadata": "the metadata service of the machine, which hands out its credentials",
    "unspecified": "this machine",
    "loopback": "this machine",
    "link-local": "this network segment (link-local)",
    "multicast": "no single machine (multicast)",
    "private": "a private network",
    "reserved": "no public network",
    "cluster": "this cluster",
    "public": "a public network",
}


class Entry(NamedTuple):
    """One entry of the allow-list: a name, a name with all below it, or a network; each for one port or all.

    Attributes:
        text: as it was written.
        name: "" of a network. A suffix begins with a dot.
        network: None of a name.
        port: None is all.
    """

    text: str
    name: str
    network: Network | None
    port: int | None


class Destination(NamedTuple):
    """What a connection is for; ``host`` as it stands in the URL, IPv6 without brackets."""

    scheme: str
    host: str
    port: int


class Refusal(NamedTuple):
    """Why a connection is refused, and what allows it."""

    sentence: str
    hint: str


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _entries(value: Any) -> tuple[Entry, ...]:
    return tuple(each if isinstance(each, Entry) else _entry(each) for each in _items(value))


def _entry(text: Any) -> Entry:
    """One entry: ``name``, ``*.name``, ``address`` or ``network``, each with ``:port`` or without."""
    if not isinstance(text, str):
        raise ValueError(f"{shown(text)} is no host or network")  # noqa: TRY004 pydantic names the field of these
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::([0-9]+))?", text)
    plain = re.fullmatch(r"([^:]*)(?::([0-9]+))?", text)
    host, port = bracketed.groups() if bracketed else plain.groups() if plain else (text, None)
    number = None if port is None else int(port)
    if number is not None and not 0 < number < 2**16:
        raise ValueError(f"{shown(text)} has no port between 1 and 65535")
    try:
        return Entry(text, "", ipaddress.ip_network(host), number)
    except ValueError as error:
        wild = host.startswith("*.")
        name = canonical(host[2:] if wild else host)
        if name is None or parsed(name) is not None:
            raise ValueError(
                f"{shown(text)} is no host or network; write db.example.com, *.data.svc, 10.20.0.0/16 or [fd00::1], "
                f"each with :port or without ({error})"
            ) from error
        return Entry(text, f".{name}" if wild else name, None, number)


def _networks(value: Any) -> tuple[Network, ...]:
    return tuple(each if not isinstance(each, str) else ipaddress.ip_network(each) for each in _items(value))


def _folders(value: tuple[str, ...]) -> tuple[str, ...]:
    for each in value:
        if not each.startswith("/") or ".." in each.split("/") or not each.strip("/"):
            raise ValueError(f"{shown(each)} is no absolute path of a folder below /")
    return value


class Outgoing(BaseModel):
    """Where connections may go that a user's object names. The defaults are those of a cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    open: bool = Field(
        default=False,
        description="Everything is allowed, files too: for a process that acts with the rights of its own user",
    )
    allow: Annotated[tuple[Entry, ...], BeforeValidator(_entries)] = Field(
        default=(),
        description="Names (db.example.com), names below one (*.data.svc), addresses and networks (10.20.0.0/16); each "
        "for all ports, or one (minio.data.svc:9000)",
    )
    public: bool = Field(default=True, description="Public addresses are allowed though the list does not name them")
    private: bool = Field(
        default=False,
        description="So are private ones (RFC 1918, RFC 4193, RFC 6598), but not those of clusterNetworks",
    )
    cluster_networks: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(
        default=(), description="Networks of the cluster's Services and pods"
    )
    cluster_domain: str = Field(default="cluster.local", description="What names of the cluster's Services end with")
    schemes: tuple[str, ...] = Field(
        default=("https", "http", "s3", "postgresql", "mysql"),
        description="Schemes that are served; file has its own setting",
    )
    folders: Annotated[tuple[str, ...], AfterValidator(_folders)] = Field(
        default=(),
        description="Folders whose files (Parquet, Delta, Iceberg, models, SQLite) may be read, symlinks resolved",
    )

    @model_validator(mode="after")
    def _private_without_the_cluster(self) -> Self:
        if self.private and not self.cluster_networks:
            raise ValueError(
                "private: true needs clusterNetworks: the networks of the cluster's Services and pods, to stay closed"
            )
        return self

    def as_json(self) -> str:
        """What a process that is started with the same settings is told."""
        stated = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if self.allow:
            stated["allow"] = [entry.text for entry in self.allow]
        return json.dumps(stated, sort_keys=True)


OPEN: Final = Outgoing.model_validate_json(open_destinations.TEXT)
VARIABLE: Final = open_destinations.VARIABLE


class OutgoingSettings(Settings):
    """Of every process that connects to what users' objects name, or starts one that does."""

    outgoing: Json[Outgoing] = Field(
        default=Outgoing(),
        alias=open_destinations.VARIABLE,
        description='JSON: where connections may go that a user\'s object names, such as {"allow": ["10.20.0.0/16"]} '
        "(millrace_core.base.destinations.Outgoing). Empty: public addresses alone, and no files",
    )


def refusal(outgoing: Outgoing, destination: Destination, addresses: Sequence[str] | None) -> Refusal | None:
    """Why a connection may not be made; None: it may.

    Args:
        addresses: all that the host resolves to, as texts; None before that is known.
    """
    scheme, host, port = destination
    if outgoing.open:
        return _unreadable(host) if is_old_form(host) else None
    if scheme not in outgoing.schemes:
        served = ", ".join(outgoing.schemes)
        return Refusal(
            f"the scheme {shown(scheme, 40)} is not allowed here", f"Use {served}, or add it to {SETTING}.schemes"
        )
    name = canonical(host)
    if name is None:
        return _unreadable(host)
    literal = parsed(name)
    if literal is not None:
        return _of_address(outgoing, name, "", port, literal)
    return _of_name(outgoing, name, port) if addresses is None else _of_addresses(outgoing, name, port, addresses)


def _unreadable(host: str) -> Refusal:
    return Refusal(
        f"the host {shown(host, 80)} is not written in the one way that is understood here",
        "Write a name in ASCII (international ones as xn--…), an IPv4 address as four decimal numbers, or an IPv6 "
        "address without a zone",
    )


def _of_addresses(outgoing: Outgoing, name: str, port: int, addresses: Sequence[str]) -> Refusal | None:
    if not addresses:
        return Refusal(f"the host {name} has no address", "Check the name")
    found = [parsed(each) for each in addresses]
    refused = (
        Refusal(f"the host {name} has an address that is none", "Check the name")
        if each is None
        else _of_address(outgoing, name, name, port, each)
        for each in found
    )
    return next((each for each in refused if each is not None), None)


def _of_name(outgoing: Outgoing, name: str, port: int) -> Refusal | None:
    """What is refused by its name alone. Networks of the list may allow it once its addresses are known."""
    kind = _kind_of_name(outgoing, name)
    listed = _named(outgoing, name, port)
    if kind is None or (kind == "cluster" and listed) or any(entry.network for entry in outgoing.allow):
        return None
    return _refused(name, name, port, kind)


def _of_address(outgoing: Outgoing, host: str, name: str, port: int, address: Address) -> Refusal | None:
    """Whether one address is allowed, reached by a name or "" by itself."""
    # What leads to another address is judged as both: a gateway may or may not translate it.
    for each in meant(address):
        kind = kind_of(each, outgoing.cluster_networks)
        by_name = _kind_of_name(outgoing, name) if name else None
        worst = by_name if by_name is not None and kind in ("public", "private") else kind
        if not _allowed(outgoing, name, port, each, worst):
            return _refused(host, str(each), port, worst)
    return None


def _allowed(outgoing: Outgoing, name: str, port: int, address: Address, kind: str) -> bool:
    if any(_lists(entry, port, address) for entry in outgoing.allow):
        return True
    if name and kind in ("public", "private", "cluster", "reserved") and _named(outgoing, name, port):
        return True
    return (kind == "public" and outgoing.public) or (kind == "private" and outgoing.private)


def _lists(entry: Entry, port: int, address: Address) -> bool:
    """Whether a network of the list holds an address. One that is special is meant only by what holds nothing else."""
    network = entry.network
    if network is None or entry.port not in (None, port) or not inside(address, network):
        return False
    found = special(address)
    return found is None or found[0] == "private" or within(network, found[1])


def _named(outgoing: Outgoing, name: str, port: int) -> bool:
    return any(
        entry.name and entry.port in (None, port) and (name == entry.name or _below(name, entry.name))
        for entry in outgoing.allow
    )


def _below(name: str, suffix: str) -> bool:
    return suffix.startswith(".") and name.endswith(suffix)


def _kind_of_name(outgoing: Outgoing, name: str) -> str | None:
    """What a name says by itself; None: nothing."""
    last = name.rpartition(".")[2]
    if last == "localhost" or name in ("localhost.localdomain", "ip6-localhost", "ip6-loopback"):
        return "loopback"
    if name in _METADATA_NAMES or name.startswith("instance-data."):
        return "metadata"
    domain = outgoing.cluster_domain.lower().strip(".")
    if last == "svc" or ".svc." in f"{name}." or name == domain or name.endswith(f".{domain}"):
        return "cluster"
    # Within a pod a name without a dot is a Service of its namespace.
    return "cluster" if "." not in name else None


def _refused(host: str, found: str, port: int, kind: str) -> Refusal:
    where = host if host == found else f"{host} ({found})"
    value = f"[{found}]:{port}" if ":" in found else f"{found}:{port}"
    if kind in ("private", "cluster", "public", "reserved") and parsed(host) is None:
        value = f"{host}:{port}"
    hint = f"Whoever runs Millrace allows it by adding {value} to {SETTING}.allow (values of the Helm chart)"
    if kind == "metadata" or (kind == "loopback" and parsed(found) is None):
        hint = "Name the server that is meant"
    if kind == "private":
        hint += f", or all private networks by {SETTING}.private: true (with {SETTING}.clusterNetworks)"
    return Refusal(f"no connection is made to {where}, port {port}: it is {_PHRASES[kind]}", hint)
