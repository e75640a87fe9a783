"""The servers of a store, by the client library: one, the master that sentinels name, or the nodes of a cluster."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, ClusterNode, RedisCluster
from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    InvalidResponse,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import TimeoutError as StoreTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from millrace_core.features.online.store_url import Host, StoreUrl
from millrace_data.online.connection import tls_context
from millrace_data.online.store_errors import (
    CLOSED,
    FAULTS,
    FOREIGN,
    NO_MASTER,
    READONLY,
    REFUSED,
    TIMEOUT,
    StoreError,
    code_of_text,
    connection_error,
    error_reply,
)


class Servers(Protocol):
    """What a store's writers need to know of its servers. Raises the client library's errors."""

    @property
    def client(self) -> Any:
        """For commands about one key, wherever it is."""

    def masters(self) -> dict[str, Any]:
        """Clients of the servers that take writes, by name; each holds rows that no other holds."""

    def holder(self, slot: int) -> str:
        """Name of the server that holds a slot."""

    def at(self, name: str) -> Any:
        """A client of the server of that name."""

    def look_again(self) -> None:
        """Forgets what was known of the servers."""


# Codes of the client library's errors; the first that fits counts, because some of them are kinds of others.
_CODES: Final[tuple[tuple[type[Exception], str], ...]] = (
    (AuthenticationError, "WRONGPASS"),
    (AuthenticationWrongNumberOfArgsError, "WRONGPASS"),
    (NoPermissionError, "NOPERM"),
    (OutOfMemoryError, "OOM"),
    (BusyLoadingError, "LOADING"),
    (ReadOnlyError, READONLY),
    (NoScriptError, "NOSCRIPT"),
    (ClusterDownError, "CLUSTERDOWN"),
    (TryAgainError, "TRYAGAIN"),
    (MasterDownError, "MASTERDOWN"),
    (MovedError, "MOVED"),
    (AskError, "ASK"),
    (ClusterCrossSlotError, "CROSSSLOT"),
    (InvalidResponse, FOREIGN),
    (StoreTimeoutError, TIMEOUT),
)


def store_error(error: BaseException) -> StoreError:
    """An error of the client library, with its code."""
    text = str(error) or type(error).__name__
    why = error.__cause__ or error.__context__
    if isinstance(error, MasterNotFoundError):
        return StoreError(text, NO_MASTER if why is None else store_error(why).code)
    if isinstance(error, RedisClusterException) and why is not None:
        return store_error(why)  # the client library itself takes any refusal for "no cluster"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return StoreError(text, code)
    if isinstance(error, ResponseError):
        reply = error_reply(text)
        # The client library takes the word ERR away.
        return reply if reply.code in FAULTS else StoreError(text, code_of_text(text, "ERR"))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError | UnicodeError):
            at_once = isinstance(error, OSError) or "connecting" in text
            return StoreError(text, connection_error(cause, REFUSED if at_once else CLOSED).code)
        cause = cause.__cause__ or cause.__context__
    return StoreError(text, code_of_text(text, CLOSED))


def servers(where: StoreUrl, timeout: float) -> Servers:
    """The servers of a store. Nothing is connected yet.

    Raises:
        RejectError: a file for TLS that the URL names cannot be used.
    """
    tls_context(where.tls)  # the client library would call an unreadable file a broken connection
    # Protocol 2, because its answers are the same from every server since Redis 6.
    options: dict[str, Any] = {
        "protocol": 2,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": None,  # whoever asks knows how patient to be
        **_login(where.login.user, where.login.password),
        **_tls(where),
    }
    if where.kind == "cluster":
        return ClusterServers(where, options)
    options["db"] = where.database
    if where.kind == "sentinel":
        sentinel_options = {**options, "db": 0, **_login(*where.sentinel_login)}
        sentinel: Any = _Sentinels([(host.name, host.port) for host in where.hosts], sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        return SingleServer(sentinel.master_for(where.service, **options))
    if where.path:
        return SingleServer(redis.Redis(unix_socket_path=where.path, **options))
    return SingleServer(redis.Redis(where.hosts[0].name, where.hosts[0].port, **options))


def _login(user: str, password: str) -> dict[str, Any]:
    return {"username": user or None, "password": password or None}


def _tls(where: StoreUrl) -> dict[str, Any]:
    tls = where.tls
    if tls is None:
        return {}
    return {
        "ssl": True,
        "ssl_ca_certs": tls.ca_certs or None,
        "ssl_certfile": tls.certfile or None,
        "ssl_keyfile": tls.keyfile or None,
        "ssl_cert_reqs": "required" if tls.verify else "none",
        "ssl_check_hostname": tls.check_hostname,
    }


class _Sentinels(Sentinel):
    """The client library's, whose own error lists its settings rather than what happened."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Address of the present master, as the first sentinel says that knows."""
        why, cause = f"no sentinel knows a master of {service_name!r}", None
        ask: Any
        for ask in self.sentinels:
            try:
                state = ask.sentinel_masters().get(service_name)
            except (StoreConnectionError, StoreTimeoutError) as error:
                why, cause = f"a sentinel does not answer: {error}", error
                continue
            if state and self.check_master_state(state, service_name):  # type: ignore[no-untyped-call]
                return state["ip"], state["port"]
        raise MasterNotFoundError(why) from cause


class SingleServer:
    """A single server, or a single one at a time: the client finds the present master whenever it connects."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def masters(self) -> dict[str, Any]:
        """The server, under an empty name."""
        return {"": self.client}

    def holder(self, slot: int) -> str:  # noqa: ARG002 it holds all
        """Its empty name."""
        return ""

    def at(self, name: str) -> Any:  # noqa: ARG002 there is no other
        """Its client."""
        return self.client

    def look_again(self) -> None:
        """Drops connections that nobody uses: sentinels are asked at each new one."""
        self.client.connection_pool.disconnect(inuse_connections=False)


class ClusterServers:
    """The nodes of a cluster, called ``host:port``."""

    def __init__(self, where: StoreUrl, options: dict[str, Any]) -> None:
        self._where = where
        self._options = options
        self._clients: dict[str, Any] = {}

    @cached_property
    def client(self) -> Any:
        """Follows keys as they move; connects at once, to learn who holds what."""
        nodes = [ClusterNode(host.name, host.port) for host in self._where.hosts]  # type: ignore[no-untyped-call]
        options = {**self._options, "retry": Retry(NoBackoff(), 1), "address_remap": self._reachable}
        client = RedisCluster(startup_nodes=nodes, **options)
        known = client.nodes_manager.get_node

        def node(host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
            return known(host, port, node_name) or (self._beyond_map(node_name) if node_name else None)

        client.nodes_manager.get_node = node  # type: ignore[method-assign]
        return client

    def masters(self) -> dict[str, Any]:
        """Those that hold slots."""
        return {name: self.at(name) for name in sorted({str(_host(node)) for node in self.client.get_primaries()})}

    def holder(self, slot: int) -> str:
        """As the cluster said last."""
        return str(_host(self.client.nodes_manager.get_node_from_slot(slot)))

    def at(self, name: str) -> Any:
        """Any node, known to the cluster's map or not yet."""
        if name not in self._clients:
            host, _, port = name.rpartition(":")
            address = host.removeprefix("[").removesuffix("]")
            self._clients[name] = redis.Redis(address, int(port), **self._options)
        return self._clients[name]

    def look_again(self) -> None:
        """Asks the nodes again who holds what."""
        self.client.nodes_manager.initialize()

    def _reachable(self, address: tuple[str | None, int]) -> tuple[str, int]:
        """Where a node is: nodes behind a load balancer may tell a port alone (``unknown-endpoint``)."""
        return address[0] or self._where.hosts[0].name, address[1]

    def _beyond_map(self, name: str) -> ClusterNode:
        """The node that an ASK names and that the map does not: one that is new, or that tells a port alone.

        The client library fails with an AttributeError at such.
        """
        host, _, port = name.rpartition(":")
        return ClusterNode(*self._reachable((host, int(port))), PRIMARY)  # type: ignore[no-untyped-call]


def _host(node: Any) -> Host:
    return Host(node.host, node.port)
