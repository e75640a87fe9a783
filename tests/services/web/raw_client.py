"""Requests and answers of HTTP, byte by byte."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.running_service import RunningService


@contextmanager
def connected(service: RunningService) -> Iterator[socket.socket]:
    at = urlsplit(service.url)
    with socket.create_connection((at.hostname, at.port), timeout=60) as connection:
        yield connection


def request(body: bytes, *headers: str, path: str = "/echo", version: str = "1.1", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "host: toy", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(connection: socket.socket, before: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """Head, body, and what came after them."""
    came = before
    while b"\r\n\r\n" not in came:
        came += received(connection)
    head, _, rest = came.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(rest) < length:
        rest += received(connection)
    return head, rest[:length], rest[length:]


def received(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the server closed the connection"
    return part
