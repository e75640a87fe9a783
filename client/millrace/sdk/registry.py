"""The registry as the SDK and the command line speak to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from millrace_core.base import bearer
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_core.features.online.published import Snapshot, snapshot

SECONDS = 10.0
_NOT_FOUND = 404
_INTERNAL = 500
# Time-out, too many requests: the same request may be answered later.
_PASSING = (408, 429)


class Registry:
    """One registry, by its URL. Every method raises RetryError where it does not answer.

    Args:
        token: as in ``FeatureStore.connect``.

    Raises:
        RejectError: it is no token.
    """

    def __init__(self, url: str, token: str | os.PathLike[str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._bearer = bearer.of(os.environ, token)

    def snapshot(self) -> Snapshot:
        """All definitions, compiled."""
        return snapshot(self._ask("GET", "/v1/definitions", "gives no definitions"), "")

    def view(self, project: str, name: str) -> dict[str, Any]:
        """A feature view as Kubernetes has it, with its status.

        Raises:
            NotFoundError: there is none.
        """
        return self._object("GET", f"/v1/catalogue/FeatureView/{quote(project)}/{quote(name)}")

    def views(self, project: str) -> list[dict[str, Any]]:
        """All feature views of a project, as Kubernetes has them."""
        found = self._object("GET", "/v1/catalogue", kind="FeatureView", namespace=project, limit=10_000)
        return list(found["items"])

    def deployments(self, project: str) -> list[dict[str, Any]]:
        """All model deployments of a project, as Kubernetes has them."""
        found = self._object("GET", "/v1/catalogue", kind="ModelDeployment", namespace=project, limit=10_000)
        return list(found["items"])

    def runs(self, project: str, view: str, limit: int = 10) -> list[dict[str, Any]]:
        """The newest runs of a view, newest first."""
        return list(self._object("GET", "/v1/runs", namespace=project, view=view, limit=limit)["items"])

    def lineage(self, project: str, view: str) -> dict[str, Any]:
        """What a view is made of, and what is made of it (docs/parts.md).

        Raises:
            NotFoundError: there is no such view.
        """
        return self._object("GET", f"/v1/feature-views/{quote(project)}/{quote(view)}/lineage")

    def put_feature_service(self, project: str, name: str, features: Sequence[str], owner: str) -> dict[str, Any]:
        """Saves a list of references under a name; gives it as it was saved.

        Raises:
            RejectError: the name or a reference is none.
        """
        body = orjson.dumps({"features": list(features), "owner": owner})
        return self._object("PUT", f"/v1/feature-services/{quote(project)}/{quote(name)}", content=body)

    def feature_services(self, project: str) -> list[dict[str, Any]]:
        """The saved lists of references of a project."""
        return list(self._object("GET", "/v1/feature-services", namespace=project, limit=10_000)["items"])

    def delete_feature_service(self, project: str, name: str) -> None:
        """Forgets a list.

        Raises:
            NotFoundError: there is none of the name.
        """
        self._object("DELETE", f"/v1/feature-services/{quote(project)}/{quote(name)}")

    def put_dataset(self, record: Mapping[str, Any]) -> None:
        """Records a saved dataset: its manifest, and ``uri``."""
        self._object("PUT", f"/v1/datasets/{quote(str(record['id']))}", content=orjson.dumps(record))

    def dataset(self, identity: str) -> dict[str, Any]:
        """The record of a dataset, by its id or the beginning of it.

        Raises:
            NotFoundError: there is none.
        """
        return self._object("GET", f"/v1/datasets/{quote(identity)}")

    def datasets(self, project: str = "", view: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """The newest datasets, newest first; of a project or of a view of it where these are given."""
        return list(self._object("GET", "/v1/datasets", namespace=project, view=view, limit=limit)["items"])

    def _object(self, method: str, path: str, content: bytes | None = None, **query: str | int) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(self._ask(method, path, "gives no answer", content, **query))
        return found

    def _ask(self, method: str, path: str, failing: str, content: bytes | None = None, **query: str | int) -> bytes:
        try:
            response = httpx.request(
                method,
                f"{self.url}{path}",
                params={name: value for name, value in query.items() if value != ""},
                content=content,
                headers={**({"content-type": "application/json"} if content else {}), **self._bearer.headers()},
                timeout=SECONDS,
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryError(
                f"the registry at {self.url} {failing}: {error}", hint="Check the URL, and that the registry is up"
            ) from error
        if response.is_success:
            return response.content
        raise error_of(response, f"the registry at {self.url} {failing}")


def error_of(response: httpx.Response, otherwise: str) -> MillraceError:
    """The error in a response of one of Millrace's services, as this process would have raised it."""
    try:
        body = orjson.loads(response.content)
        text, field, reason = str(body["error"]), str(body.get("field", "")), str(body.get("reason", ""))
    except (ValueError, KeyError, TypeError):
        return RetryError(f"{otherwise}: HTTP {response.status_code} {response.text[:200]}", hint="Check the URL")
    # The text begins with the field already.
    text = text.removeprefix(f"{field}: ")
    status = response.status_code
    if status in _PASSING or status > _INTERNAL:
        return RetryError(text, field=field, reason=reason)
    kind = ReportError if status == _INTERNAL else NotFoundError if status == _NOT_FOUND else RejectError
    return kind(text, field=field, reason=reason)
