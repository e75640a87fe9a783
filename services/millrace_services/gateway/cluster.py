"""FeatureViews as the API server has them: read, and given a command, for Feast's clients that start runs."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from millrace_core.api.group import API_VERSION, COMMAND_ANNOTATION, FEATURE_VIEWS
from millrace_core.base.errors import NotFoundError, ReportError, RetryError

SECONDS: Final = 10.0
_MERGE: Final = {"content-type": "application/merge-patch+json"}
_NOT_FOUND, _CONFLICT = 404, 409
_FORBIDDEN: Final = (401, 403)


def in_cluster(environ: Mapping[str, str]) -> str:
    """The API server's URL, as Kubernetes tells each pod; empty outside of one."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "443")
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}" if host else ""


class ClusterViews:
    """FeatureViews of the cluster.

    Args:
        server: URL of the API server.
        account: folder with the files ``token``, read for each request, because Kubernetes renews it, and ``ca.crt``.
    """

    def __init__(self, server: str, account: Path) -> None:
        self._server = server
        self._account = account
        self._client: httpx.AsyncClient | None = None

    async def get(self, namespace: str, name: str) -> dict[str, Any]:
        """The view.

        Raises:
            NotFoundError: there is none. ReportError: the gateway may not read it. RetryError: no answer.
        """
        answer = await self._ask("GET", namespace, name)
        view: dict[str, Any] = answer.json()
        return view

    async def command(self, view: Mapping[str, Any], text: str) -> bool:
        """Annotates the view, as it was read; False where it has changed meanwhile. Raises as ``get``."""
        metadata = view["metadata"]
        version = {name: metadata[name] for name in ("resourceVersion", "uid")}
        patch = {"metadata": {**version, "annotations": {COMMAND_ANNOTATION: text}}}
        answer = await self._ask("PATCH", metadata["namespace"], metadata["name"], patch)
        return answer.status_code != _CONFLICT

    async def close(self) -> None:
        """Ends the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, method: str, namespace: str, name: str, body: Any = None) -> httpx.Response:
        path = f"/apis/{API_VERSION}/namespaces/{quote(namespace, safe='')}/{FEATURE_VIEWS}/{quote(name, safe='')}"
        try:
            token = (await asyncio.to_thread((self._account / "token").read_text)).strip()
            if self._client is None:
                self._client = await asyncio.to_thread(self._connected)
            headers = {"authorization": f"Bearer {token}", **(_MERGE if body is not None else {})}
            answer = await self._client.request(method, path, json=body, headers=headers)
        except (httpx.HTTPError, OSError) as error:
            raise RetryError(
                f"the API server {self._server} gives no answer: {error}", reason="ClusterUnavailable", delay=2
            ) from error
        if answer.status_code == _NOT_FOUND:
            raise NotFoundError(f"the cluster has no FeatureView {name!r} in namespace {namespace!r}")
        if answer.status_code in _FORBIDDEN:
            raise ReportError(
                f"the gateway may not {method} FeatureView {namespace}/{name}: {_said(answer)}",
                hint="The chart's gateway.materialize: true gives it the right",
            )
        if not answer.is_success and answer.status_code != _CONFLICT:
            raise RetryError(f"the API server refuses: {_said(answer)}", reason="ClusterUnavailable", delay=2)
        return answer

    def _connected(self) -> httpx.AsyncClient:
        trust: Any = True
        if self._server.startswith("https:"):
            trust = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        return httpx.AsyncClient(base_url=self._server, timeout=SECONDS, verify=trust, trust_env=False)


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
