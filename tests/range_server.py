"""A server of files by byte ranges, as object stores are, which counts what it was asked for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

# A status, headers and a body instead of a file.
Answer = tuple[int, Mapping[str, str], bytes]


class RangeServer(ThreadingHTTPServer):
    """Files by their paths, percent-decoded.

    Attributes:
        files: may change at any time; the tag of a file is its digest.
        refuse: answers instead of a file where it returns something: by method, path with query, headers and body.
        requests: method, path with query and headers of all.
        cut: how many bytes of a body are sent before the connection breaks, by its number and its length.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str) -> None:
        self.files: dict[str, bytes] = {}
        self.refuse: Callable[[str, str, Mapping[str, str], bytes], Answer | None] = lambda *_: None
        self.requests: list[tuple[str, str, Mapping[str, str]]] = []
        self.cut: Callable[[int, int], int | None] = lambda _number, _length: None
        self.sent = 0
        super().__init__((address, 0), _Handler)

    @property
    def host(self) -> str:
        return f"{self.server_address[0]}:{self.server_port}"

    def asked(self, ending: str) -> int:
        """How often files whose paths end so were asked for."""
        return sum(path.partition("?")[0].endswith(ending) for _, path, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    server: RangeServer
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        number = len(self.server.requests)
        self.server.requests.append((self.command, self.path, headers))
        body = self.rfile.read(int(headers.get("content-length", 0)))
        answer = self.server.refuse(self.command, self.path, headers, body) or self._file(headers)
        status, own, content = answer
        self.send_response(status)
        for name, value in {"content-length": str(len(content)), **own}.items():
            self.send_header(name, value)
        self.end_headers()
        cut = self.server.cut(number, len(content))
        self.wfile.write(content[:cut])
        self.server.sent += len(content[:cut])
        if cut is not None:
            self.close_connection = True

    def _file(self, headers: Mapping[str, str]) -> Answer:
        content = self.server.files.get(unquote(self.path.partition("?")[0]))
        if content is None:
            return 404, {}, b""
        tag = {"etag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if "range" not in headers:
            return 200, tag, content
        first, _, last = headers["range"].removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, len(content))
        if start >= len(content):
            return 416, tag, b""
        return 206, {**tag, "content-range": f"bytes {start}-{stop - 1}/{len(content)}"}, content[start:stop]

    do_GET = do_POST = _any  # noqa: N815 the library's names

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def range_server(address: str = "127.0.0.1") -> Iterator[RangeServer]:
    """A server on an address of this machine, as long as the block lasts."""
    with RangeServer(address) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
