"""What has to happen before the operator is uninstalled: afterwards nobody takes its finalizers away.

An object with a finalizer that nobody removes can never be deleted, and its namespace neither. So the operator is
stopped (it would put the finalizers back), and they are removed from every object. The objects stay, unless they are to
be deleted: the operator does that while it still runs, because it deletes what they stored as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import product
from typing import Final

from millrace_core.api.group import GROUP
from millrace_kube.client import Client
from millrace_kube.errors import AbsentError, ConflictError
from millrace_kube.resources import (
    DEPLOYMENTS,
    EXPERIMENTS,
    FEATURE_VIEWS,
    LEASES,
    MODEL_DEPLOYMENTS,
    PODS,
    Object,
    Resource,
    key_of,
    key_text,
    name_of,
    namespace_of,
)

OPERATOR: Final = "millrace-operator"
_PODS: Final = f"app.kubernetes.io/name={OPERATOR}"
# Experiments first: one that runs holds the deployments that it routes to.
_KINDS: Final = (EXPERIMENTS, FEATURE_VIEWS, MODEL_DEPLOYMENTS)
_LOOK_SECONDS: Final = 0.5
_TRIES: Final = 5

Say = Callable[[str], object]


class Uninstall:
    """The steps, in order.

    Args:
        namespace: the operator's own.
        namespaces: those that it acts on; empty: all.
        patience: seconds that each wait lasts at most.
        say: takes a line for people.
    """

    def __init__(
        self, client: Client, namespace: str, namespaces: Sequence[str] = (), *, patience: float, say: Say
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._namespaces = tuple(namespaces) or ("",)
        self._patience = patience
        self._say = say

    async def run(self, *, delete_objects: bool) -> None:
        """Deletes the objects if that is wanted, stops the operator, and releases what is left. Safe to run again."""
        if delete_objects:
            await self._delete_objects()
        await self._stop_operator()
        await self._release()

    async def _delete_objects(self) -> None:
        async for resource, document in self._objects():
            await self._client.delete(resource, namespace_of(document), name_of(document))
            self._say(f"{key_text(document)} is deleted")
        await self._until(self._nothing_left, "the deletion of every object")

    async def _nothing_left(self) -> bool:
        return not [document async for _, document in self._objects()]

    async def _stop_operator(self) -> None:
        try:
            await self._client.patch(DEPLOYMENTS, self._namespace, OPERATOR, {"spec": {"replicas": 0}})
        except AbsentError:
            self._say("there is no operator to stop")
        await self._until(self._stopped, "the end of the operator's pods")
        await self._client.delete(LEASES, self._namespace, OPERATOR)

    async def _stopped(self) -> bool:
        found, _ = await self._client.list(PODS, self._namespace, labels=_PODS)
        return not found

    async def _release(self) -> None:
        async for resource, document in self._objects():
            if await self._without_finalizers(resource, document):
                self._say(f"{key_text(document)} stays, and may be deleted at any time")

    async def _without_finalizers(self, resource: Resource, document: Object) -> bool:
        """Removes Millrace's own finalizers; False where the object has gone meanwhile."""
        found: Object | None = document
        for _ in range(_TRIES):
            if found is None:
                return False
            metadata = found["metadata"]
            present = metadata.get("finalizers") or []
            rest = [each for each in present if not each.startswith(f"{GROUP}/")]
            if rest == present:
                return True
            patch = {"metadata": {"finalizers": rest, "resourceVersion": metadata["resourceVersion"]}}
            try:
                await self._client.patch(resource, namespace_of(found), name_of(found), patch)
            except AbsentError:
                return False
            except ConflictError:
                found = await self._client.get(resource, namespace_of(found), name_of(found))
            else:
                return True
        raise ConflictError(f"{resource.kind} {key_of(document)} is changed all the time")

    async def _objects(self) -> AsyncIterator[tuple[Resource, Object]]:
        for resource, namespace in product(_KINDS, self._namespaces):
            try:
                found, _ = await self._client.list(resource, namespace)
            except AbsentError:  # somebody deleted the CRD, and with it every object
                continue
            for document in found:
                yield resource, document

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            async with asyncio.timeout(self._patience):
                while not await holds():  # noqa: ASYNC110 it is the API server that changes
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            self._say(f"{what} did not come within {self._patience:g} s: going on")
