"""What a stack that is attached to a foreign cluster creates there, and removes again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from millrace_core.api.conditions import holds
from millrace_core.api.group import GROUP
from millrace_core.base import timestamps, yaml_text
from millrace_core.base.errors import RejectError, ReportError
from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.errors import ApiError
from millrace_kube.resources import (
    CRON_JOBS,
    DEFINITIONS,
    DEPLOYMENTS,
    LEASES,
    NAMESPACES,
    NODES,
    SECRETS,
    SERVICES,
    Object,
)
from millrace_kube.times import now
from millrace_local.node.registration import HOLDER, LEASE_NAMESPACE, LEASE_SECONDS, holder

ESTABLISHED_SECONDS = 30.0
CLEAN_UP_SECONDS = 5.0
_POLL_SECONDS = 0.05
_RESOURCES = {one.kind: one for one in (DEFINITIONS, NAMESPACES, SECRETS, DEPLOYMENTS, SERVICES, CRON_JOBS)}


async def check_free(kubeconfig: Path, node: str, root: Path) -> None:
    """Checks that no other stack is attached to a cluster: a second would take over the first one's Node and store.

    Raises:
        RejectError: the kubeconfig cannot be used, or the Node of another stack is alive.
        ApiError: the API server does not answer.
    """
    async with Client(load(kubeconfig)) as client:
        other, renewed = await _lease_holder(client, node)
    if other not in ("", holder(root)) and now() - renewed < timedelta(seconds=LEASE_SECONDS):
        raise RejectError(
            f"another stack is attached to this cluster already: {other}",
            hint=f"Bring it down there; after a crash its node is forgotten in {LEASE_SECONDS} s",
            field="kubeconfig",
            reason="AlreadyAttached",
        )


async def _lease_holder(client: Client, node: str) -> tuple[str, datetime]:
    """The holder of a node's Lease and its last renewal; "" and the epoch if there is none."""
    lease = await client.get(LEASES, LEASE_NAMESPACE, node)
    if lease is None:
        return "", datetime.fromtimestamp(0, UTC)
    return (lease["metadata"].get("annotations") or {}).get(HOLDER, ""), timestamps.parse(lease["spec"]["renewTime"])


async def apply(kubeconfig: Path, paths: Sequence[Path]) -> None:
    """Applies the objects in YAML files, or folders of them, in order.

    CRDs of others are created only where the cluster has none: those of the cluster are complete.

    Raises:
        RejectError: the kubeconfig cannot be used, or an object is of a kind that a stack does not have.
        ReportError: a CRD is not established in time.
        ApiError: the API server refuses an object, or does not answer.
    """
    async with Client(load(kubeconfig), user_agent="millrace-stack", field_manager="millrace-stack") as client:
        for item in _documents(paths):
            await _apply(client, item)


def _documents(paths: Sequence[Path]) -> Iterator[Object]:
    for path in paths:
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            for item in _read(file):
                if item["kind"] not in _RESOURCES:
                    raise RejectError(
                        f"{file} has a {item['kind']}", hint=f"Expected {', '.join(_RESOURCES)}", field="crds"
                    )
                yield item


def _read(file: Path) -> list[Object]:
    try:
        return yaml_text.values(file.read_text(encoding="utf-8"))
    except (yaml_text.YamlError, UnicodeDecodeError) as error:
        raise RejectError(f"{file} is no YAML: {error}", field="crds") from error


async def _apply(client: Client, item: Object) -> None:
    resource, name = _RESOURCES[item["kind"]], item["metadata"]["name"]
    if resource is DEFINITIONS and item["spec"]["group"] != GROUP and await client.get(DEFINITIONS, "", name):
        return
    await client.apply(resource, item)
    if resource is DEFINITIONS:
        await _wait_established(client, name)


async def _wait_established(client: Client, name: str) -> None:
    try:
        async with asyncio.timeout(ESTABLISHED_SECONDS):
            while True:
                found = await client.get(DEFINITIONS, "", name) or {}
                if holds((found.get("status") or {}).get("conditions"), "Established"):
                    return
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise ReportError(f"the cluster does not serve {name}", hint=f"See kubectl describe crd {name}") from error


def leave(kubeconfig: Path, node: str, root: Path) -> None:
    """Deletes a Node and its Lease, unless a stack of another folder holds them or the cluster does not answer."""
    asyncio.run(_remove_node(kubeconfig, node, holder(root)))


async def _remove_node(kubeconfig: Path, name: str, present: str) -> None:
    with suppress(ApiError, RejectError, TimeoutError):
        async with asyncio.timeout(CLEAN_UP_SECONDS), Client(load(kubeconfig)) as client:
            if (await _lease_holder(client, name))[0] != present:
                return
            await client.delete(NODES, "", name)
            await client.delete(LEASES, LEASE_NAMESPACE, name)
