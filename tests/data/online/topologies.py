"""Real servers put together as people run them: clusters, and masters with replicas under sentinels."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from millrace_local.stack.launch import programs

HOST = "127.0.0.1"
# Of cluster nodes: their bus listens 10,000 above, and the kernel hands out ports above 32,767.
_FIRST_CLUSTER_PORT, _LAST_CLUSTER_PORT = 15000, 22000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def free_cluster_ports(count: int) -> list[int]:
    found: list[int] = []
    port = _FIRST_CLUSTER_PORT + time.time_ns() // 1000 % 5000
    while len(found) < count:
        port = port + 1 if port < _LAST_CLUSTER_PORT else _FIRST_CLUSTER_PORT
        with socket.socket() as one, socket.socket() as bus:
            try:
                one.bind((HOST, port))
                bus.bind((HOST, port + 10_000))
            except OSError:
                continue
        found.append(port)
    return found


class Server:
    """One process."""

    def __init__(self, folder: Path, *arguments: str, program: str = "", client: dict[str, Any] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = int(arguments[arguments.index("--port") + 1]) or int(arguments[arguments.index("--tls-port") + 1])
        self.client: Any = redis.Redis(HOST, self.port, socket_timeout=5, retry=None, **(client or {}))
        known = client or {}
        # By which one server enters another with a row.
        self.entry = ["AUTH2", known["username"], known["password"]] if "username" in known else []
        self._command = [program or programs().store, *arguments]
        self._folder = folder
        self.start()

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self._folder, stdout=log, stderr=log)
        until(self.client.ping)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


def until(call: Callable[[], Any], seconds: float = 30.0) -> None:
    """Waits until a call answers something true."""
    end = time.monotonic() + seconds
    while True:
        try:
            if call():
                return
            why = "it answers no"
        except redis.RedisError as error:
            why = str(error)
        if time.monotonic() > end:
            raise AssertionError(why)
        time.sleep(0.02)


@dataclass(frozen=True)
class Guard:
    """What protects the servers of a topology: TLS and users (``secured``). By default nothing does.

    Attributes:
        program: of the servers; the one that tests bring by default.
        options: of every server and sentinel.
        data: options of those that hold rows.
        watched: lines in the configuration of sentinels.
        client: how tests themselves enter servers, ``sentinel`` how they enter sentinels.
        scheme, login, query: of URLs.
    """

    program: str = ""
    options: Sequence[str] = ()
    data: Sequence[str] = ()
    watched: str = ""
    client: Mapping[str, Any] = field(default_factory=dict)
    sentinel: Mapping[str, Any] = field(default_factory=dict)
    scheme: str = "redis"
    login: str = ""
    query: str = ""

    @property
    def listening(self) -> str:
        return "--tls-port" if self.options else "--port"

    def at(self, port: int) -> list[str]:
        """Where a server listens."""
        unprotected = ["--port", "0"] if self.options else []
        return [*unprotected, self.listening, str(port), "--bind", HOST, *self.options]

    def rows(self, port: int, *more: str) -> list[str]:
        """A server of rows that forgets them when it ends."""
        once = ["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]
        return [*self.at(port), *self.data, *once, *more]

    def url(self, kind: str, ports: Sequence[int], path: str = "") -> str:
        hosts = ",".join(f"{HOST}:{port}" for port in ports)
        return f"{self.scheme}+{kind}://{self.login}{hosts}{path}{self.query}"


OPEN = Guard()


class Cluster:
    """Three masters; further nodes may come."""

    def __init__(self, folder: Path, guard: Guard = OPEN) -> None:
        self._folder = folder
        self._guard = guard
        self._stack = ExitStack()
        self.nodes = [self.node(port) for port in free_cluster_ports(3)]
        first, *others = self.nodes
        for node, (begin, end) in zip(self.nodes, [(0, 5460), (5461, 10922), (10923, 16383)], strict=True):
            node.client.execute_command("CLUSTER ADDSLOTSRANGE", begin, end)
        for number, node in enumerate(self.nodes, 1):
            node.client.execute_command("CLUSTER SET-CONFIG-EPOCH", number)
        for node in others:
            node.client.execute_command("CLUSTER MEET", HOST, first.port)
        until(lambda: all(self.state(node) == "ok" for node in self.nodes))
        self.url = guard.url("cluster", [node.port for node in self.nodes[:2]])

    def node(self, port: int) -> Server:
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "600", "--cluster-config-file", f"{port}.conf"]
        guard = self._guard
        server = Server(
            self._folder / str(port), *guard.rows(port, *options), program=guard.program, client={**guard.client}
        )
        self._stack.callback(server.kill)
        return server

    def join(self) -> Server:
        """A new node without slots."""
        [port] = free_cluster_ports(1)
        node = self.node(port)
        node.client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port)
        until(lambda: self.id(node) in self.known(self.nodes[0]))
        until(lambda: all(self.id(other) in self.known(node) for other in self.nodes))
        until(lambda: self.state(node) == "ok")
        return node

    @staticmethod
    def state(node: Server) -> str:
        return str(node.client.execute_command("CLUSTER INFO")["cluster_state"])

    @staticmethod
    def known(node: Server) -> str:
        return str(node.client.execute_command("CLUSTER NODES"))

    @staticmethod
    def id(node: Server) -> str:
        found = node.client.execute_command("CLUSTER MYID")
        return str(found.decode() if isinstance(found, bytes) else found)

    def close(self) -> None:
        self._stack.close()


@contextmanager
def cluster(folder: Path, guard: Guard = OPEN) -> Iterator[Cluster]:
    running = Cluster(folder, guard)
    try:
        yield running
    finally:
        running.close()


@contextmanager
def under_sentinels(
    folder: Path, count: int = 1, guard: Guard = OPEN
) -> Iterator[tuple[str, list[Server], list[Server]]]:
    """A URL, a master with its replica, and the sentinels that watch them as the service ``rows``."""

    def started(home: Path, *arguments: str, client: Mapping[str, Any] = guard.client) -> Server:
        server = Server(home, *arguments, program=guard.program, client={**client})
        stack.callback(server.kill)
        return server

    with ExitStack() as stack:
        master = started(folder / "master", *guard.rows(free_port()))
        replica = started(folder / "replica", *guard.rows(free_port(), "--replicaof", f"{HOST} {master.port}"))
        sentinels = []
        for number in range(count):
            home = folder / f"sentinel-{number}"
            home.mkdir(parents=True)
            (home / "conf").write_text(
                f"sentinel monitor rows {HOST} {master.port} 1\n"
                "sentinel down-after-milliseconds rows 300\n"
                "sentinel failover-timeout rows 1000\n"
                f"{guard.watched}"
            )
            arguments = [str(home / "conf"), "--sentinel", *guard.at(free_port())]
            sentinels.append(started(home, *arguments, client=guard.sentinel))
        until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        until(lambda: all(int(one.client.sentinel_master("rows")["num-slaves"]) == 1 for one in sentinels))
        url = guard.url("sentinel", [sentinel.port for sentinel in sentinels], "/rows/0")
        yield url, [master, replica], sentinels
