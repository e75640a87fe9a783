"""Doors for tests: 127.0.0.2 is allowed, 127.0.0.3 is not, and names are what the test says; nothing else is asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from millrace_core.base.destinations import Outgoing
from millrace_data.objects.door import Door

ALLOWED, REFUSED = "127.0.0.2", "127.0.0.3"


def door(names: Mapping[str, Sequence[str]] | None = None, **settings: Any) -> Door:
    """A guarded door that resolves these names, and no others."""
    known = names or {}

    def resolve(host: str, port: int) -> Sequence[str]:
        if host not in known:
            raise OSError(f"no test resolves {host}")
        return known[host]

    return Door(Outgoing.model_validate({"allow": [ALLOWED], **settings}), resolve)


class Server(ThreadingHTTPServer):
    """Answers each request by ``answer(path)``: a status, headers and a body."""

    daemon_threads = True

    def __init__(self, address: str, answer: Callable[[str], tuple[int, Mapping[str, str], bytes]]) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.accepted = 0
        super().__init__((address, 0), _Handler)

    def get_request(self) -> Any:
        self.accepted += 1
        return super().get_request()

    @property
    def address(self) -> str:
        return f"{self.server_address[0]}:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        self.server.requests.append((self.command, self.path, dict(self.headers)))
        self.rfile.read(int(self.headers.get("content-length", 0)))
        status, headers, body = self.server.answer(self.path)
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = _any  # noqa: N815 the library's names

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(
    address: str, answer: Callable[[str], tuple[int, Mapping[str, str], bytes]] = lambda path: (200, {}, b"x" * 10)
) -> Iterator[Server]:
    """A server on an address of this machine, as long as the block lasts."""
    with Server(address, answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def to(server: Server, path: str = "/secret", status: int = 302) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    """Answers that redirect to a server."""
    return lambda _: (status, {"location": f"http://{server.address}{path}"}, b"")
