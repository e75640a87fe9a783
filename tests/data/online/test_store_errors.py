"""The gateway, the SDK and the materialize job say the same of a store that fails, each with what it can do itself."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from millrace_core.base.errors import MillraceError, RejectError, ReportError, RetryError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys, store_url
from millrace_core.features.online.row import Layout
from millrace_data.online.resp import KeyGroup
from millrace_data.online.servers import store_error
from millrace_data.online.slots import slot
from millrace_data.online.store import Store
from millrace_data.online.store_errors import SDK, Caller, error_reply, explain
from millrace_services.gateway.store import RowStore
from millrace_services.materialize.main import JOB
from millrace_services.web.errors import render
from tests.core.features.histories import view
from tests.data.online.secured import certificate, program
from tests.data.online.topologies import HOST, Cluster, Server, cluster, free_cluster_ports, free_port, until

DEFINITION = view(("x", "int64"))
SECRET = "hunter2"
TIMEOUT = 1.0
CALLERS = ("gateway", "sdk", "job")
SETTINGS = {
    "gateway": "the gateway's MILLRACE_STORE_URL",
    "sdk": "online=",
    "job": "MILLRACE_STORE_URL of the operator",
}

Place = Callable[[ExitStack, Path], str]


def started(stack: ExitStack, folder: Path, *options: str) -> Server:
    at = () if "--port" in options else ("--port", str(free_port()))
    server = Server(folder, *at, "--bind", HOST, "--save", "", *options)
    stack.callback(server.kill)
    return server


def configured(*options: str, login: str = "", path: str = "", scheme: str = "redis", admin: Any = None) -> Place:
    """A server with these options, as a URL with this login and path reaches it."""

    def place(stack: ExitStack, folder: Path) -> str:
        server = started(stack, folder, *options)
        if admin is not None:
            admin(server)
        return f"{scheme}://{login}{HOST}:{server.port}{path}"

    return place


def listening(answer: Callable[[socket.socket], None]) -> Place:
    """Something that accepts connections and is no store."""

    def place(stack: ExitStack, folder: Path) -> str:
        listener = stack.enter_context(socket.create_server((HOST, 0)))

        def accept() -> None:
            try:
                while True:
                    answer(listener.accept()[0])
            except OSError:  # the test is over
                pass

        threading.Thread(target=accept, daemon=True).start()
        return f"redis://:{SECRET}@{HOST}:{listener.getsockname()[1]}"

    return place


def web_server(stack: ExitStack, folder: Path) -> str:
    server = HTTPServer((HOST, 0), BaseHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign, assignment]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.server_close)
    stack.callback(server.shutdown)
    return f"redis://:{SECRET}@{HOST}:{server.server_port}"


def password(server: Server) -> None:
    server.client.config_set("requirepass", "other")


def acl(server: Server) -> None:
    server.client.execute_command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@connection")


def full(server: Server) -> None:
    server.client.config_set("maxmemory", "1")


def replica(server: Server) -> None:
    server.client.execute_command("REPLICAOF", HOST, "1")
    server.client.config_set("replica-serve-stale-data", "yes")


def another_kind(server: Server) -> None:
    server.client.set(keys.meta(DEFINITION.project, DEFINITION.view), "text")


def crowded(server: Server) -> None:
    server.client.ping()
    server.client.config_set("maxclients", "1")


def tls_server(stack: ExitStack, folder: Path, *options: str) -> tuple[int, str]:
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = certificate(folder, "cert")
    files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
    mine = {"ssl": True, "ssl_ca_certs": cert, "ssl_certfile": cert, "ssl_keyfile": key}
    arguments = ("--port", "0", "--tls-port", str(free_port()), "--bind", HOST, "--save", "", *files, *options)
    server = Server(folder / "data", *arguments, program=program(), client=mine)
    stack.callback(server.kill)
    return server.port, cert


def untrusted(stack: ExitStack, folder: Path) -> str:
    port, _ = tls_server(stack, folder, "--tls-auth-clients", "no")
    return f"rediss://:{SECRET}@{HOST}:{port}"


def certificate_wanted(stack: ExitStack, folder: Path) -> str:
    port, cert = tls_server(stack, folder)
    return f"rediss://:{SECRET}@{HOST}:{port}?ssl_ca_certs={cert}"


def plain_to_tls(stack: ExitStack, folder: Path) -> str:
    port, _ = tls_server(stack, folder, "--tls-auth-clients", "no")
    return f"redis://:{SECRET}@{HOST}:{port}"


def no_login(stack: ExitStack, folder: Path) -> str:
    return configured(admin=password)(stack, folder)


def empty_cluster(stack: ExitStack, folder: Path) -> str:
    [port] = free_cluster_ports(1)  # its bus listens 10,000 above
    server = started(stack, folder, "--port", str(port), "--cluster-enabled", "yes")
    return f"redis+cluster://{HOST}:{server.port}"


def three_nodes(stack: ExitStack, folder: Path) -> Cluster:
    return stack.enter_context(cluster(folder))


def lost_node(stack: ExitStack, folder: Path) -> str:
    running = three_nodes(stack, folder)
    for node in running.nodes:
        node.client.config_set("cluster-require-full-coverage", "no")
    _holder(running).kill()
    return running.url


def single_url_of_a_cluster(stack: ExitStack, folder: Path) -> str:
    running = three_nodes(stack, folder)
    other = next(node for node in running.nodes if node is not _holder(running))
    return f"redis://{HOST}:{other.port}"


def _holder(running: Cluster) -> Server:
    """The node of the key that tests read."""
    number = slot(keys.store_keys(DEFINITION, {"id": [1]})[0] or b"")
    return running.nodes[next(i for i, last in enumerate((5460, 10922, 16383)) if number <= last)]


def cluster_without_map(stack: ExitStack, folder: Path) -> str:
    """A user that may not ask who holds what."""
    running = three_nodes(stack, folder)
    for node in running.nodes:
        node.client.execute_command("ACL", "SETUSER", "reader", "on", f">{SECRET}", "~*", "+@all", "-cluster")
    return running.url.replace("://", f"://reader:{SECRET}@")


def loading(stack: ExitStack, folder: Path) -> str:
    options = ("--port", str(free_port()), "--bind", HOST, "--dbfilename", "d.rdb", "--save", "")
    server = Server(folder, *options)
    server.client.mset({f"k{i}": os.urandom(10_000) for i in range(500)})
    server.client.save()
    server.kill()
    slowly = ("--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
    process = subprocess.Popen([*server._command, *slowly], cwd=folder, stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)

    def answers() -> bool:
        try:
            return bool(server.client.ping())
        except Exception as error:
            return "loading" in str(error)

    until(answers)
    return f"redis://{HOST}:{server.port}"


@dataclass(frozen=True)
class Case:
    place: Place
    kind: type[MillraceError]
    reason: str
    words: str
    writes: bool = False


UNAVAILABLE = "StoreUnavailable"
KEPT: list[socket.socket] = []
CASES = {
    "wrong password": Case(
        configured(login=f":{SECRET}@", admin=password), ReportError, "StoreDenied", "refuses the login"
    ),
    "no password": Case(no_login, ReportError, "StoreDenied", "refuses the login"),
    "unknown user": Case(configured(login=f"me:{SECRET}@"), ReportError, "StoreDenied", "refuses the login"),
    "no permission": Case(
        configured(login=f"reader:{SECRET}@", admin=acl), ReportError, "StoreDenied", "does not permit this"
    ),
    "no AUTH, whose arguments the server repeats": Case(
        configured("--rename-command", "AUTH", "", login=f":{30 * SECRET}@"), RetryError, UNAVAILABLE, "reports a fault"
    ),
    "unknown database": Case(configured(path="/99"), ReportError, "StoreDatabase", "has no such database"),
    "a replica": Case(configured(admin=replica), RetryError, UNAVAILABLE, "it is a replica", writes=True),
    "full": Case(configured(admin=full), ReportError, "StoreFull", "is full", writes=True),
    "a key of another program": Case(
        configured(admin=another_kind), ReportError, "StoreShared", "something else under a key", writes=True
    ),
    "too many clients": Case(configured(admin=crowded), RetryError, UNAVAILABLE, "has too many clients"),
    "loading": Case(loading, RetryError, UNAVAILABLE, "is still loading its data"),
    "a cluster without slots": Case(empty_cluster, RetryError, UNAVAILABLE, ""),
    "a lost node of a cluster": Case(lost_node, RetryError, UNAVAILABLE, ""),
    "no permission to ask for a cluster's map": Case(
        cluster_without_map, ReportError, "StoreDenied", "does not permit this"
    ),
    "a node of a cluster by a single URL": Case(
        single_url_of_a_cluster, ReportError, "StoreIsCluster", "is a node of a cluster"
    ),
    "one server by a cluster's URL": Case(
        configured(scheme="redis+cluster"), ReportError, "StoreIsNoCluster", "is no cluster"
    ),
    "an unknown certificate": Case(untrusted, ReportError, "StoreUntrusted", "is not trusted"),
    "a plain connection to TLS": Case(plain_to_tls, RetryError, UNAVAILABLE, "closed the connection"),
    "nobody there": Case(
        lambda *_: f"redis://:{SECRET}@{HOST}:{free_port()}", RetryError, UNAVAILABLE, "accepts no connection"
    ),
    "nobody there, by a name": Case(
        lambda *_: f"redis://:{SECRET}@localhost:{free_port()}", RetryError, UNAVAILABLE, "accepts no connection"
    ),
    "no socket": Case(lambda _, folder: f"unix://{folder}/none.sock", RetryError, UNAVAILABLE, "accepts no connection"),
    "no such host": Case(
        lambda *_: f"redis://:{SECRET}@nowhere.invalid:1", RetryError, UNAVAILABLE, "a host name without an address"
    ),
    "a name too long for DNS": Case(
        lambda *_: f"redis://:{SECRET}@{'x' * 80}:1", RetryError, UNAVAILABLE, "a host name without an address"
    ),
    "no answer": Case(listening(KEPT.append), RetryError, UNAVAILABLE, "does not answer in time"),
    "a connection that ends": Case(
        listening(lambda accepted: accepted.close()), RetryError, UNAVAILABLE, "closed the connection"
    ),
    "a web server": Case(web_server, ReportError, "StoreNotRedis", "does not speak the Redis protocol"),
}
# What the client sees of these depends on what comes first: the server's alert, or the end of the connection.
TLS_CASES: dict[str, Place] = {
    "no certificate of ours": certificate_wanted,
    "TLS to a plain server": configured(scheme="rediss", login=f":{SECRET}@"),
}
# Their advice is about the store alone.
WITHOUT_SETTING = {"full", "loading", "too many clients", "no AUTH, whose arguments the server repeats"}


@contextmanager
def place_of(case: Case, folder: Path) -> Iterator[str]:
    with ExitStack() as stack:
        yield case.place(stack, folder / "place")


async def gateways(url: str, definition: Definition, writes: bool) -> None:
    store = RowStore(url, TIMEOUT)
    try:
        if writes:
            await store.announce(definition.project, definition.view, Layout.of(definition))
        else:
            await store.rows([KeyGroup(b"", [key for key in keys.store_keys(definition, {"id": [1]}) if key])])
    finally:
        store.close()


def librarys(url: str, definition: Definition, writes: bool, caller: Caller | None) -> None:
    store = Store(url, TIMEOUT, caller) if caller else Store(url, TIMEOUT)
    if writes:
        store.announce(definition)
    else:
        store.rows([key for key in keys.store_keys(definition, {"id": [1]}) if key])


def told(caller: str, url: str, writes: bool) -> MillraceError:
    try:
        if caller == "gateway":
            asyncio.run(gateways(url, DEFINITION, writes))
        else:
            librarys(url, DEFINITION, writes, JOB if caller == "job" else None)
    except MillraceError as error:
        return error
    raise AssertionError("nothing is told")


@pytest.mark.parametrize("name", CASES)
def test_all_callers_are_told_the_same_with_what_each_can_do(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    with place_of(case, tmp_path) as url:
        for caller in CALLERS:
            error = told(caller, url, case.writes)
            assert (type(error), error.reason) == (case.kind, case.reason), (caller, str(error))
            assert case.words in error.message, caller
            status, body, _ = render(error)
            assert status == (503 if case.kind is RetryError else 500)
            assert SECRET not in f"{error}{error.as_dict()}{body!r}{error.hint}"
            if "cluster" not in name and name not in WITHOUT_SETTING:
                assert SETTINGS[caller] in error.hint, caller
            assert error.hint.startswith(
                {
                    ("gateway", RetryError): "Try again; if it lasts, tell whoever runs the gateway",
                    ("gateway", ReportError): "Tell whoever runs the gateway",
                    ("sdk", RetryError): "Try again; if it lasts, ",
                    ("sdk", ReportError): "To mend it, ",
                    ("job", RetryError): "The run is tried again; if it lasts, ",
                    ("job", ReportError): "To mend it, ",
                }[caller, case.kind]
            )
            assert (store_url.parse(url).shown in error.message) == (caller != "gateway")


@pytest.mark.parametrize("name", TLS_CASES)
def test_a_tls_that_the_two_sides_do_not_share_is_told_with_what_to_look_at(name: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        url = TLS_CASES[name](stack, tmp_path / "place")
        for caller in CALLERS:
            error = told(caller, url, writes=False)
            assert error.reason in ("StoreUntrusted", UNAVAILABLE)
            assert SETTINGS[caller] in error.hint
            assert "rediss://" in error.hint
            assert SECRET not in str(error)


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_of_the_url_that_cannot_be_used_is_named_before_anything_is_connected(
    name: str, content: str | None, tmp_path: Path
) -> None:
    cert, key = certificate(tmp_path, "good")
    wrong = tmp_path / "wrong.pem"
    if content is not None:
        wrong.write_text(content)
    files = {"ssl_ca_certs": cert, "ssl_certfile": cert, "ssl_keyfile": key, name: str(wrong)}
    url = f"rediss://{HOST}:1?{'&'.join(f'{key}={value}' for key, value in files.items())}"
    for opened in (lambda: RowStore(url, TIMEOUT), lambda: Store(url, TIMEOUT)):
        with pytest.raises(RejectError, match=name) as caught:
            opened()
        assert "wrong.pem" in str(caught.value)


@pytest.mark.parametrize("code", ["READONLY", "OOM", "MISCONF", "NOREPLICAS"])
def test_what_a_script_met_is_known_also_where_the_server_wraps_it(code: str) -> None:
    """As Redis 6 does. The client library takes the word ERR away."""
    text = f"Error running script (call to f_0a1b): @user_script:9: @user_script: 9: -{code} said by the server"
    assert error_reply(f"ERR {text}").code == code
    assert store_error(redis.ResponseError(text)).code == code


@pytest.mark.parametrize("secret", ["e", "a", "is", "s t", "not", "."])
def test_a_short_password_leaves_the_message_readable(secret: str) -> None:
    where = store_url.parse(f"redis://:{quote(secret)}@{HOST}")
    said = f"ERR the store is not at rest, arguments '{secret}' and \"{secret}\""
    found = explain(error_reply(said), where, SDK).message
    for word in ("store", "rest", "arguments"):
        assert word in found
    assert f"'{secret}'" not in found
    assert f'"{secret}"' not in found


@pytest.mark.parametrize("secret", ["word", "hunter2", "[a-z]+"])
def test_a_longer_password_is_told_in_no_word(secret: str) -> None:
    where = store_url.parse(f"redis://:{quote(secret, safe='')}@{HOST}")
    assert secret not in explain(error_reply(f"ERR user=me{secret}x {secret}"), where, SDK).message
