"""The one route of the registry that a gateway needs: the feature views of one benchmark, with an etag."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from millrace_core.features.online.edition import CATALOGUE, REVISION


def start(specs: Mapping[str, Any], experiments: Sequence[Any] = ()) -> ThreadingHTTPServer:
    """Serves feature views, given as name to spec, and experiments as they are published, on a free port of 127.0.0.1
    until ``shutdown``."""
    views = [{"metadata": {"name": name, "namespace": "default"}, "spec": spec} for name, spec in specs.items()]
    body = json.dumps({"featureViews": views, "modelDeployments": [], "experiments": experiments}).encode()

    class Definitions(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            unchanged = self.headers.get("if-none-match") == '"1"'
            self.send_response(304 if unchanged else 200)
            for name, value in (("etag", '"1"'), (CATALOGUE, "benchmark"), (REVISION, "1")):
                self.send_header(name, value)
            self.send_header("content-length", "0" if unchanged else str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if unchanged else body)

        def log_message(self, *args: Sequence[Any]) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Definitions)
    Thread(target=server.serve_forever, daemon=True).start()
    return server
