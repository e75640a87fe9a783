"""A REST catalog of Iceberg tables for tests: a SQL catalog behind the few routes by which a table is read.

Source of the routes and forms: https://iceberg.apache.org/rest-catalog-spec/.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

CLIENT, SECRET, TOKEN = "reader", "sesame", "a-token"


class _Handler(BaseHTTPRequestHandler):
    catalog: Catalog
    # What a table's answer hands out: such as keys of its files.
    vended: Mapping[str, str]

    def do_GET(self) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(401, "NotAuthorizedException", "who are you?")
            return
        match self.path.partition("?")[0].strip("/").split("/"):
            case ["v1", "config"]:
                self._answer(200, {"defaults": {}, "overrides": {}})
            case ["v1", "namespaces", namespace, "tables", name]:
                self._table(unquote(namespace), unquote(name))
            case _:
                self._refuse(404, "NoSuchRoute", self.path)

    def do_POST(self) -> None:
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        # A server of tokens that is not the catalog's own wants another scope.
        scope = "catalog" if self.path == "/v1/oauth/tokens" else "all"
        if given != {
            "grant_type": ["client_credentials"],
            "client_id": [CLIENT],
            "client_secret": [SECRET],
            "scope": [scope],
        }:
            self._answer(401, {"error": "invalid_client", "error_description": "wrong client or secret"})
            return
        self._answer(200, {"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600})

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def _table(self, namespace: str, name: str) -> None:
        try:
            table = self.catalog.load_table((namespace, name))
        except NoSuchTableError as error:
            self._refuse(404, "NoSuchTableException", str(error))
            return
        metadata = json.loads(table.metadata.model_dump_json(by_alias=True, exclude_none=True))
        self._answer(
            200, {"metadata-location": table.metadata_location, "metadata": metadata, "config": dict(self.vended)}
        )

    def _refuse(self, code: int, kind: str, message: str) -> None:
        self._answer(code, {"error": {"message": message, "type": kind, "code": code}})

    def _answer(self, code: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def rest_catalog(catalog: Catalog, vended: Mapping[str, str] | None = None) -> Iterator[str]:
    """The address of a server that asks for ``TOKEN``, or gives it to ``CLIENT`` with ``SECRET``."""
    handler = type("Handler", (_Handler,), {"catalog": catalog, "vended": vended or {}})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
