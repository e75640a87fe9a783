"""A forward proxy within the process, for libraries that resolve and connect by themselves and follow redirects.

Arrow's and Delta's clients of S3 follow every redirect, and neither lets anybody look at the addresses. So where the
door is guarded they send all requests here: each goes to the address that was checked for it, or is refused with 403.
It listens on loopback alone and asks for a password that only this process knows. Each connection of a plain ``http``
request carries one request; ``CONNECT`` carries bytes, so TLS is the client's own.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import socket
import socketserver
import threading
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from typing import Final
from urllib.parse import urlsplit

from millrace_core.base.destinations import Destination
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.base.timeouts import IDLE_SECONDS

# A connection to a destination, if it is allowed; raises RejectError where it is not.
Connect = Callable[[Destination], socket.socket]

logger = logging.getLogger(__name__)

_CHUNK: Final = 256 * 1024
_HEAD_BYTES: Final = 64 * 1024
_USER: Final = "millrace"
_HTTP_PORT: Final = 80
# Those of one connection alone (RFC 9110, 7.6.1), and what is for this proxy.
_HOP: Final = frozenset(("connection", "proxy-connection", "keep-alive", "proxy-authorization", "te", "upgrade"))
_REFUSED: Final = "403 Refused"
_UNREACHABLE: Final = "502 Cannot Connect"


class Passage:
    """A proxy that serves until the process ends.

    Attributes:
        url: for clients that take all in one.
        host, port, user, password: for others.
    """

    def __init__(self, connect: Connect) -> None:
        self.password = secrets.token_urlsafe(24)
        self._server = _Server(connect, _token(_USER, self.password))
        self.host, self.port = "127.0.0.1", int(self._server.server_address[1])
        self.user = _USER
        threading.Thread(target=self._server.serve_forever, name="passage", daemon=True).start()

    @property
    def url(self) -> str:
        """With user and password."""
        return f"http://{self.user}:{self.password}@{self.host}:{self.port}"


def _token(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, connect: Connect, token: str) -> None:
        self.connect = connect
        self.token = token
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 the library's names
        """Connections break off; whoever made them says so better."""
        logger.debug("a connection through the passage broke off", exc_info=True)


class _Answer(Exception):  # noqa: N818 no error of ours: what the client is told
    """A status line instead of the server's answer."""


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        """One request, or one tunnel."""
        self.request.settimeout(2 * IDLE_SECONDS)
        try:
            with self.request.makefile("rb") as reader:
                line, headers = _head(reader)
                self._authorize(headers)
                method, target, version = line
                if method == "CONNECT":
                    self._tunnel(reader, target)
                else:
                    self._forward(reader, method, target, version, headers)
        except _Answer as answer:
            more = "Proxy-Authenticate: Basic\r\n" if str(answer).startswith("407") else ""
            with suppress(OSError):
                self.request.sendall(
                    f"HTTP/1.1 {answer}\r\n{more}Content-Length: 0\r\nConnection: close\r\n\r\n".encode()
                )

    def _authorize(self, headers: list[tuple[str, str]]) -> None:
        given = next((value for name, value in headers if name.lower() == "proxy-authorization"), "")
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise _Answer("407 Password Required")

    def _connected(self, scheme: str, host: str, port: int) -> socket.socket:
        try:
            connection = self.server.connect(Destination(scheme, host, port))
        except RejectError as error:
            logger.warning("refused: %s", error.message)
            raise _Answer(_REFUSED) from error
        except (MillraceError, OSError) as error:
            raise _Answer(_UNREACHABLE) from error
        connection.settimeout(2 * IDLE_SECONDS)
        return connection

    def _tunnel(self, reader: BufferedReader, target: str) -> None:
        host, _, port = target.rpartition(":")
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise _Answer("400 Bad Request")
        with self._connected("https", host.removeprefix("[").removesuffix("]"), int(port)) as server:
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            sending = threading.Thread(target=_pump, args=(reader.read1, server, None), name="passage", daemon=True)
            sending.start()
            _pump(server.recv, self.request, None)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            sending.join()

    def _forward(
        self, reader: BufferedReader, method: str, target: str, version: str, headers: list[tuple[str, str]]
    ) -> None:
        try:
            parts = urlsplit(target)
            port = parts.port or _HTTP_PORT
        except ValueError as error:
            raise _Answer("400 Bad Request") from error
        if parts.scheme != "http" or not parts.hostname or "@" in parts.netloc:
            raise _Answer(_REFUSED)
        lower = {name.lower(): value for name, value in headers}
        length = lower.get("content-length", "0")
        if "transfer-encoding" in lower or not (length.isascii() and length.isdigit()):
            raise _Answer("411 Length Required")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = [(name, value) for name, value in headers if name.lower() not in _HOP]
        head = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in kept), "Connection: close"]
        with self._connected("http", parts.hostname, port) as server:
            server.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            if int(length):
                threading.Thread(
                    target=_pump, args=(reader.read1, server, int(length)), name="passage", daemon=True
                ).start()
            _pump(server.recv, self.request, None)
            with suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)


def _head(reader: BufferedReader) -> tuple[tuple[str, str, str], list[tuple[str, str]]]:
    lines: list[str] = []
    left = _HEAD_BYTES
    while True:
        line = reader.readline(left)
        left -= len(line)
        if not line.endswith(b"\n"):
            raise _Answer("431 Too Large") if left <= 0 else ConnectionError("closed within the head")
        if not (text := line.decode("latin-1").rstrip("\r\n")):
            break
        lines.append(text)
    if not lines or len(first := lines[0].split(" ")) != 3 or not first[2].startswith("HTTP/1."):  # noqa: PLR2004
        raise _Answer("400 Bad Request")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return (first[0], first[1], first[2]), headers


def _pump(read: Callable[[int], bytes], target: socket.socket, most: int | None) -> None:
    """Bytes from one side to the other until the first ends, or so many came."""
    with suppress(OSError, ValueError):
        while most is None or most > 0:
            chunk = read(_CHUNK if most is None else min(_CHUNK, most))
            if not chunk:
                break
            target.sendall(chunk)
            if most is not None:
                most -= len(chunk)
    if most is None:
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
