"""The servers of a store, by the client library: one, the master that sentinels name, or the nodes of a cluster."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ConnectionError as StoreConnectionError
from redis.exceptions import TimeoutError as StoreTimeoutError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from millrace_core.features.online.store_url import Host, StoreUrl


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


def servers(where: StoreUrl, timeout: float) -> Servers:
    """The servers of a store. Nothing is connected yet."""
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
        return Cluster(where, options)
    options["db"] = where.database
    if where.kind == "sentinel":
        asked = {**options, "db": 0, **_login(*where.sentinel_login)}
        sentinel: Any = _Sentinels([(host.name, host.port) for host in where.hosts], sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
        return One(sentinel.master_for(where.service, **options))
    if where.path:
        return One(redis.Redis(unix_socket_path=where.path, **options))
    return One(redis.Redis(where.hosts[0].name, where.hosts[0].port, **options))


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


class One:
    """A single server, or a single one at a time: the client finds the present master whenever it connects."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def masters(self) -> dict[str, Any]:
        """The one."""
        return {"": self.client}

    def holder(self, slot: int) -> str:  # noqa: ARG002 it holds all
        """The one."""
        return ""

    def at(self, name: str) -> Any:  # noqa: ARG002 there is no other
        """The one."""
        return self.client

    def look_again(self) -> None:
        """Drops connections that nobody uses: sentinels are asked at each new one."""
        self.client.connection_pool.disconnect(inuse_connections=False)


class Cluster:
    """The nodes of a cluster, called ``host:port``."""

    def __init__(self, where: StoreUrl, options: dict[str, Any]) -> None:
        self._where = where
        self._options = options
        self._clients: dict[str, Any] = {}

    @cached_property
    def client(self) -> Any:
        """Follows keys as they move; connects at once, to learn who holds what."""
        nodes = [ClusterNode(host.name, host.port) for host in self._where.hosts]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, **{**self._options, "retry": Retry(NoBackoff(), 1)})

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


def _host(node: Any) -> Host:
    return Host(node.host, node.port)
