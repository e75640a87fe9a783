"""A plain HTTP client of an API server, for tests that look at what goes over the wire."""

from __future__ import annotations

import httpx

from millrace_kube.connection import Connection
from millrace_local.apiserver.process import RunningServer


def client_of(server: RunningServer, **headers: str) -> httpx.Client:
    """A client with the token of the server's kubeconfig."""
    return client_by(server.connection, **headers)


def client_by(connection: Connection, **headers: str) -> httpx.Client:
    """A client of the server that a connection names."""
    assert connection.tls is not None
    return httpx.Client(
        base_url=connection.server,
        verify=connection.tls,
        timeout=60,
        headers={**connection.authorization(), **headers},
        trust_env=False,
    )
