"""The laptop mode's API server on a loop of its own, asked without a socket, and the operators' client for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from millrace_kube.client import Client
from millrace_kube.connection import Connection
from millrace_local.apiserver import thirdparty
from millrace_local.apiserver.app import App
from millrace_local.apiserver.authentication import Authentication
from millrace_local.apiserver.seeding import seed
from millrace_local.apiserver.server import ApiServer
from tests.fuzz.in_process import Answered, Application, InProcess

_TOKEN: Final = "t"
HEADERS: Final = ((b"host", b"localhost"), (b"authorization", b"Bearer t"), (b"content-type", b"application/json"))
# 504 is Kubernetes' own answer to a resourceVersion of the future.
EXPECTED: Final = (504,)
_CRDS: Final = (Path(__file__).parents[2] / "crds", Path(thirdparty.__path__[0]))


@asynccontextmanager
async def api_server() -> AsyncIterator[Application]:
    """The application, with its workers, and the CRDs of Millrace and of others."""
    with tempfile.TemporaryDirectory() as folder:
        server = ApiServer(Path(folder))
        seed(server, _CRDS)
        working = asyncio.create_task(server.run())
        try:
            yield App(server, Authentication(_TOKEN))
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working
            server.close()


class InProcessClient(Client):
    """The operators' client, of such a server."""

    def __init__(self, cluster: InProcess) -> None:
        super().__init__(Connection("http://localhost"))
        self._cluster = cluster

    async def _send(
        self, method: str, path: str, query: Mapping[str, str], data: bytes | None, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        target = path + (f"?{urlencode(query)}" if query else "")
        headers = {**dict(HEADERS), b"content-type": content_type.encode()}
        status, body = await self._cluster.ask(method.encode(), target.encode(), headers, data or b"")
        return status, {}, body


def document_of(body: bytes) -> dict[str, Any] | None:
    """The object that an input is, if it is one; without finalizers, which would keep it for the next."""
    try:
        document = orjson.loads(body)
        orjson.dumps(document)  # not nested too deeply, which is tried where whole requests are
    except (orjson.JSONDecodeError, TypeError):
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("metadata"), dict):
        document["metadata"].pop("finalizers", None)
    return document


def sent(cluster: InProcess, method: bytes, path: str, document: object = None) -> Answered:
    """Asks for one thing that is no input."""
    body = b"" if document is None else orjson.dumps(document)
    answered: Answered = cluster.run(cluster.ask(method, path.encode(), dict(HEADERS), body))
    return answered
