"""Health checks of components, made the way clients reach them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_kube.connection import load

TIMEOUT_SECONDS = 2.0
HTTP_OK = 200
LONGEST_MESSAGE = 300


@dataclass(frozen=True)
class HttpCheck:
    """A GET that must return 200, on 127.0.0.1 or over a Unix socket; ``host`` is the Host header."""

    port: int = 0
    path: str = "/"
    host: str = ""
    socket: Path | None = None


@dataclass(frozen=True)
class ApiCheck:
    """A GET that the API server of ``kubeconfig`` must answer with 200."""

    kubeconfig: Path
    path: str


@dataclass(frozen=True)
class RedisCheck:
    """A PING. Written by hand, since loading a client library takes longer than starting a store."""

    url: str


@dataclass(frozen=True)
class HeartbeatCheck:
    """A Lease that must have been renewed within ``seconds``; read from the API server of ``kubeconfig``."""

    kubeconfig: Path
    path: str
    seconds: float


Check = HttpCheck | ApiCheck | RedisCheck | HeartbeatCheck


def failure(check: Check, since: float = 0.0) -> str:
    """Why a check fails, in a few words; empty if it passes. Blocks for two seconds at most.

    Args:
        check: the check.
        since: when the component, or what it needs, started last, in seconds since the epoch; earlier heartbeats do
            not count.
    """
    try:
        return _failure(check, since)
    except (OSError, http.client.HTTPException, ValueError, KeyError, MillraceError) as error:
        return str(error) or type(error).__name__


def _failure(check: Check, since: float) -> str:
    if isinstance(check, RedisCheck):
        return _redis_failure(check)
    if isinstance(check, HttpCheck | ApiCheck):
        status, body = _get(check) if isinstance(check, HttpCheck) else _ask(check.kubeconfig, check.path)
        return "" if status == HTTP_OK else f"answered {status}: {body[:LONGEST_MESSAGE]}"
    status, body = _ask(check.kubeconfig, check.path)
    if status != HTTP_OK:
        return "not registered yet"
    renewed = timestamps.parse(json.loads(body)["spec"]["renewTime"]).timestamp()
    age = time.time() - renewed
    if renewed < since:
        return "no new heartbeat yet"
    return "" if age <= check.seconds else f"its last heartbeat was {age:.0f} s ago"


def _ask(kubeconfig: Path, path: str) -> tuple[int, str]:
    known = load(kubeconfig)
    address = urlsplit(known.server)
    where, port = address.hostname or "", address.port
    connection = (
        http.client.HTTPSConnection(where, port, timeout=TIMEOUT_SECONDS, context=known.tls)
        if known.tls
        else http.client.HTTPConnection(where, port, timeout=TIMEOUT_SECONDS)
    )
    return _request(connection, address.path + path, known.authorization())


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, whose absolute path may be longer than a socket's path can be."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(TIMEOUT_SECONDS)
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _get(check: HttpCheck) -> tuple[int, str]:
    connection = (
        http.client.HTTPConnection("127.0.0.1", check.port, timeout=TIMEOUT_SECONDS)
        if check.socket is None
        else _UnixConnection(check.socket)
    )
    return _request(connection, check.path, {"Host": check.host} if check.host else {})


def _request(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace").strip()
    finally:
        connection.close()


def _redis_failure(check: RedisCheck) -> str:
    address = urlsplit(check.url)
    login = [unquote(part) for part in (address.username, address.password) if part]
    commands = [["AUTH", *login]] if login else []
    where = (address.hostname or "127.0.0.1", address.port or 6379)
    with contextlib.ExitStack() as opened:
        one = opened.enter_context(socket.create_connection(where, TIMEOUT_SECONDS))
        if address.scheme == "rediss":
            one = opened.enter_context(ssl.create_default_context().wrap_socket(one, server_hostname=where[0]))
        for command in [*commands, ["PING"]]:
            one.sendall(b"*%d\r\n" % len(command) + b"".join(_bulk(word) for word in command))
            response = one.recv(300).decode(errors="replace").strip()
            if not response.startswith("+"):
                return response.lstrip("-") or "closed the connection"
    return ""


def _bulk(word: str) -> bytes:
    content = word.encode()
    return b"$%d\r\n%b\r\n" % (len(content), content)
