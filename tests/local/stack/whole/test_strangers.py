"""What web pages and other users of the machine get from a running platform: of every port that its processes open.

The ports are found in ``/proc``, so that one that is added later is tried too.
"""

from __future__ import annotations

import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from millrace_local.stack import LocalStack, processes
from millrace_local.stack.settings import StackSettings

pytestmark = pytest.mark.slow
LISTENS = "0A"
# What a page may send without asking: to change something, or to read as the page of a name that leads here.
FORM = "Content-Type: application/x-www-form-urlencoded"
PLAIN = "Content-Type: text/plain"
PAGES = (
    ("GET", "evil.invalid", ()),
    ("POST", "evil.invalid", ("Origin: http://evil.invalid", "Content-Type: application/json")),
    ("POST", "", ("Origin: https://evil.invalid", PLAIN)),
    ("POST", "", ("Origin: null", "Content-Type: application/json")),
    ("POST", "", (FORM,)),
    ("POST", "", (PLAIN,)),
    ("POST", "", ()),
)
PATHS = (
    "/",
    "/push",
    "/get-online-features",
    "/v1/feature-views",
    "/v2/models/m/infer",
    "/api/v1/namespaces/default/pods",
    "/quitquitquit",
    "/config_dump",
    "/metrics",
    "/health/ready",
)


def running(stack: LocalStack) -> set[int]:
    """All processes of the platform. The store writes its title over its environment, and with it its mark."""
    now = stack.status()
    components = {one.process.pid for one in now.components.values() if one.process.pid}
    return {now.supervisor.pid, *components, *(process.pid for process in processes.marked(stack.paths.root))}


def listening(stack: LocalStack) -> dict[tuple[str, int], int]:
    """The addresses at which the platform's processes accept connections, and the process of each."""
    owners = {}
    for pid in running(stack):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                owners[str(link.readlink())] = pid
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == LISTENS and f"socket:[{fields[9]}]" in owners:
                assert table == "tcp", "the platform listens on IPv4 loopback alone"
                octets = bytes.fromhex(address)[::-1]
                found[socket.inet_ntoa(octets), int(port, 16)] = owners[f"socket:[{fields[9]}]"]
    return found


def answered(address: tuple[str, int], request: bytes, *, tls: bool) -> bytes:
    """What a server answers, up to the end of the first head; empty where it closes the connection."""
    with socket.create_connection(address, timeout=20) as plain:
        connection: socket.socket = plain
        if tls:
            anybody = ssl.create_default_context()
            anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
            connection = anybody.wrap_socket(plain)
        came = b""
        with suppress(ConnectionError, ssl.SSLError):
            connection.sendall(request)
            while b"\r\n\r\n" not in came and (part := connection.recv(65536)):
                came += part
                if not came.startswith(b"HTTP/"):
                    break  # another protocol, which has said no
        return came


def test_every_port_is_on_loopback_and_refuses_what_web_pages_send(stack: LocalStack) -> None:
    ports = listening(stack)
    known = {("127.0.0.1", port) for port in stack.status().ports.values()}
    assert known <= ports.keys()
    assert len(ports) >= len(known) + 2, "registry and gateway have addresses of their own"
    for (address, port), pid in ports.items():
        assert address.startswith("127."), processes.command_line(pid)
        for method, host, headers in PAGES:
            for path in PATHS:
                body = "" if method == "GET" else '{"metadata": {"name": "p"}}'
                lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'{address}:{port}'}", *headers]
                lines += [f"Content-Length: {len(body)}", "Connection: close", "", body]
                request = "\r\n".join(lines).encode()
                for tls in (False, True) if (address, port) == _api(stack) else (False,):
                    said = answered((address, port), request, tls=tls)
                    code = said.partition(b" ")[2][:3] if said.startswith(b"HTTP/1.1 ") else b""
                    shown = (processes.command_line(pid), request, said)
                    assert code[:1] in (b"", b"4") or (code == b"503" and port == stack.status().ports["ingress"]), (
                        shown
                    )
                    assert code or not said or said.startswith(b"-"), shown


def _api(stack: LocalStack) -> tuple[str, int]:
    return "127.0.0.1", stack.status().ports["api"]


def test_without_secrets_neither_api_server_nor_store_does_anything(stack: LocalStack) -> None:
    request = b"GET /api/v1/namespaces/default/secrets HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert answered(_api(stack), request, tls=True).startswith(b"HTTP/1.1 401 ")
    store = ("127.0.0.1", stack.status().ports["store"])
    for command in (b"KEYS *\r\n", b"CONFIG SET dir /\r\n", b"AUTH x\r\n"):
        assert answered(store, command, tls=False)[:6] in (b"-NOAUT", b"-WRONG")


def test_the_folder_and_all_that_is_in_it_belong_to_its_user_alone(stack: LocalStack) -> None:
    assert stat.S_IMODE(stack.paths.root.stat().st_mode) == 0o700
    for path in stack.paths.root.rglob("*"):
        if not path.is_symlink() and "volumes" not in path.parts:
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_no_secret_is_on_a_command_line(stack: LocalStack) -> None:
    settings: StackSettings = stack._running_settings()
    token = stack.kubeconfig.read_text().partition('"token": "')[2].partition('"')[0]
    secrets = (settings.store_password, settings.mesh_secret, token)
    assert all(len(secret) > 20 for secret in secrets)
    for pid in running(stack):
        assert not [secret for secret in secrets if secret in processes.command_line(pid)]
