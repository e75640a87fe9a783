"""Writes a pod's status to the API server whenever it changes, the latest state only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from millrace_kube.resources import PODS, Object, version_of
from millrace_local.client.api import ApiError, Client

log = logging.getLogger(__name__)

LOGS_ANNOTATION = "node.millrace.dev/logs"
FIRST_RETRY = 0.1
LONGEST_RETRY = 10.0


class StatusWriter:
    """The status of one pod on its way to the API server.

    Args:
        client: the way there.
        obj: the pod.
        build: the status as it is now, given the pod as it is now.
        logs: the folder of the pod's logs, noted in an annotation for ``kubectl logs``.
    """

    def __init__(self, client: Client, obj: Object, build: Callable[[Object], Object], logs: str) -> None:
        self.obj = obj
        self.is_gone = False
        self._client = client
        self._build = build
        self._logs = logs
        self._sent: Object | None = None
        self._dirty = asyncio.Event()
        self._clean = asyncio.Event()
        self._clean.set()

    def observe(self, obj: Object) -> None:
        """Takes a newer version of the pod."""
        if version_of(obj) < 0 or version_of(obj) >= version_of(self.obj):
            self.obj = obj

    def changed(self) -> None:
        """Has the status written soon."""
        if not self.is_gone:
            self._clean.clear()
            self._dirty.set()

    def give_up(self) -> None:
        """Writes nothing any more: the pod is gone."""
        self.is_gone = True
        self._dirty.set()
        self._clean.set()

    async def settled(self) -> None:
        """Returns when the last change is written, or there is no pod any more to write it to."""
        await self._clean.wait()

    async def run(self) -> None:
        """Writes until cancelled, or the pod is gone."""
        delay = FIRST_RETRY
        while True:
            await self._dirty.wait()
            if self.is_gone:
                return
            self._dirty.clear()
            try:
                await self._write()
            except ApiError as error:
                if error.is_missing or (error.is_conflict and "uid" in error.message.lower()):
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
        if (metadata.get("annotations") or {}).get(LOGS_ANNOTATION) != self._logs:
            note = {"metadata": {"uid": metadata["uid"], "annotations": {LOGS_ANNOTATION: self._logs}}}
            self.observe(await self._client.patch(PODS, metadata["namespace"], metadata["name"], note))
        status = self._build(self.obj)
        if status == self._sent:
            return
        # The uid makes sure that a pod of the same name that came after this one is not meant.
        change = {"metadata": {"uid": metadata["uid"]}, "status": _cleared(self.obj.get("status") or {}, status)}
        written = await self._client.patch(PODS, metadata["namespace"], metadata["name"], change, subresource="status")
        self._sent = status
        self.observe(written)


async def remove(client: Client, obj: Object) -> None:
    """Removes a pod whose end has come from the API server; tries until it is gone."""
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
    """The status as a merge patch: what is no longer said is taken out."""
    return {**{name: None for name in before if name not in after}, **after}
