"""Fetches the Secrets, ConfigMaps and tokens that containers and volumes refer to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from millrace_kube.client import Client
from millrace_kube.errors import AbsentError
from millrace_kube.resources import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS, Object
from millrace_local.node.environment import Reference, content
from millrace_local.node.volumes import TOKEN

_RESOURCES = {"Secret": SECRETS, "ConfigMap": CONFIG_MAPS}
TOKEN_SECONDS = 3600


async def fetch(
    client: Client, pod: Object, references: Iterable[Reference]
) -> dict[Reference, Mapping[str, bytes] | None]:
    """The content of all references; None for an object that does not exist.

    Raises:
        ApiError: the API server refused or did not answer.
    """
    wanted = sorted(set(references))
    found = await asyncio.gather(*(_one(client, pod, reference) for reference in wanted))
    return dict(zip(wanted, found, strict=True))


async def _one(client: Client, pod: Object, reference: Reference) -> Mapping[str, bytes] | None:
    kind, name = reference
    namespace = pod["metadata"]["namespace"]
    try:
        if kind == TOKEN:
            account = pod["spec"].get("serviceAccountName") or "default"
            spec = {"expirationSeconds": TOKEN_SECONDS, "audiences": [name] if name else []}
            path = SERVICE_ACCOUNTS.path(namespace, account, "token")
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
            answer = await client.request("POST", path, body=body)
            return {"token": answer["status"]["token"].encode()}
        resource = _RESOURCES[kind]
        found = await client.get(resource, namespace, name)
        return content(found) if found else None
    except AbsentError:
        return None
