"""Writes a pod's status to the API server whenever it changes; only the latest state counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from millrace_kube.client import Client
from millrace_kube.errors import AbsentError, ApiError, ConflictError
from millrace_kube.resources import PODS, Object, version_of

log = logging.getLogger(__name__)

FIRST_RETRY = 0.1
LONGEST_RETRY = 10.0


class StatusWriter:
    """Writes the status of one pod.

    Args:
        client: a client of the API server.
        obj: the pod.
        build: the current status, given the current pod.
    """

    def __init__(self, client: Client, obj: Object, build: Callable[[Object], Object]) -> None:
        self.obj = obj
        self.is_gone = False
        self._client = client
        self._build = build
        self._sent: Object | None = None
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()

    def observe(self, obj: Object) -> None:
        """Takes a newer version of the pod."""
        if version_of(obj) < 0 or version_of(obj) >= version_of(self.obj):
            self.obj = obj

    def changed(self) -> None:
        """Schedules a write."""
        if not self.is_gone:
            self._clean.clear()
            self._dirty.set()

    def give_up(self) -> None:
        """Writes no more: the pod is gone."""
        self.is_gone = True
        self._dirty.set()
        self._clean.set()

    async def settled(self) -> None:
        """Waits until the last change is written or the pod is gone."""
        await self._clean.wait()

    async def run(self) -> None:
        """Writes until cancelled or the pod is gone."""
        delay = FIRST_RETRY
        while True:
            await self._dirty.wait()
            if self.is_gone:
                return
            self._dirty.clear()
            try:
                await self._write()
            except ApiError as error:
                if isinstance(error, AbsentError) or (
                    isinstance(error, ConflictError) and "uid" in error.message.lower()
                ):
                    self.give_up()
                    return
                log.warning("status of pod %s: %s", self.obj["metadata"]["name"], error)
                self._dirty.set()
                await asyncio.sleep(max(delay, error.delay))
                delay = min(delay * 2, LONGEST_RETRY)
            else:
                delay = FIRST_RETRY
                if not self._dirty.is_set():
                    self._clean.set()

    async def _write(self) -> None:
        metadata = self.obj["metadata"]
        status = self._build(self.obj)
        if status == self._sent:
            return
        # With the uid the patch cannot change a later pod of the same name.
        change = {"metadata": {"uid": metadata["uid"]}, "status": _cleared(self.obj.get("status") or {}, status)}
        written = await self._client.patch(PODS, metadata["namespace"], metadata["name"], change, subresource="status")
        self._sent = status
        self.observe(written)


async def remove(client: Client, obj: Object) -> None:
    """Deletes a pod that has ended; retries until it is gone."""
    metadata, delay = obj["metadata"], FIRST_RETRY
    while True:
        try:
            await client.delete(PODS, metadata["namespace"], metadata["name"], uid=metadata["uid"], grace=0)
        except ApiError as error:
            log.warning("removing pod %s: %s", metadata["name"], error)
            await asyncio.sleep(max(delay, error.delay))
            delay = min(delay * 2, LONGEST_RETRY)
        else:
            return


def _cleared(before: Object, after: Object) -> Object:
    """The status as a merge patch, in which fields that are no longer set are null."""
    return {**{name: None for name in before if name not in after}, **after}
