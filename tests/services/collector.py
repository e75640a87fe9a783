"""A small OpenTelemetry collector: takes OTLP over HTTP, and decodes it."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {1: "internal", 2: "server", 3: "client"}


class Collected:
    """A span as a collector sees it; ``resource`` are the attributes of its process."""

    def __init__(self, span: Any, resource: dict[str, Any]) -> None:
        self.name: str = span.name
        self.kind = KINDS[span.kind]
        self.trace_id, self.span_id = span.trace_id.hex(), span.span_id.hex()
        self.parent_id = span.parent_span_id.hex()
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.failed = span.status.code == 2
        self.attributes = _values(span.attributes)
        self.links = [link.span_id.hex() for link in span.links]
        self.resource = resource

    def __repr__(self) -> str:
        return f"{self.name} {self.span_id} of {self.parent_id or 'nobody'} in {self.trace_id}"


class Collector:
    """What has come, and where it listens."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Collected] = []

    @property
    def environment(self) -> dict[str, str]:
        """Makes a process send its spans here, at once."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "20"}

    def wait_for(self, name: str, trace_id: str) -> Collected:
        """The span of that name in a trace."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            for span in list(self.spans):
                if (span.name, span.trace_id) == (name, trace_id):
                    return span
            time.sleep(0.01)
        raise AssertionError(f"no span {name} in trace {trace_id}: {self.spans}")

    def of(self, trace_id: str) -> list[Collected]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace_id == trace_id]


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port of 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            collector.spans += _decoded(body) if self.path == "/v1/traces" else []
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _decoded(body: bytes) -> list[Collected]:
    message = ExportTraceServiceRequest()
    message.ParseFromString(body)
    return [
        Collected(span, _values(each.resource.attributes))
        for each in message.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
