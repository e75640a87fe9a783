"""Asks a running Envoy over its admin socket: whether it is ready, and what it accepted."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Self

import aiohttp

from millrace_core.base.errors import ReportError
from millrace_local.mesh.bootstrap import ADMIN_SOCKET, ROUTES_NAME

CLUSTERS_STAT = "cluster_manager.cds"
ROUTES_STAT = f"http.ingress.rds.{ROUTES_NAME}"
POLL_SECONDS = 0.005
ANSWER_SECONDS = 2.0


class Acknowledgement(Enum):
    """Whether Envoy accepted the files that were written; ``UNKNOWN`` if it did not say so in time."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class EnvoyAdmin:
    """The admin interface of the Envoy that runs in ``directory``. An asynchronous context manager."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._folder = -1
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._folder = os.open(self._directory, os.O_PATH | os.O_DIRECTORY)
        # Through /proc the path stays short: the path of a socket has 107 bytes at most.
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{self._folder}/{ADMIN_SOCKET}")
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        self._session = aiohttp.ClientSession("http://envoy", connector=connector, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        os.close(self._folder)

    async def ready(self) -> bool:
        """Whether Envoy has read its first configuration and serves."""
        try:
            return (await self._get("/ready")).strip() == "LIVE"
        except OSError:
            return False

    async def rejections(self, stats: Iterable[str]) -> dict[str, int]:
        """How often Envoy has rejected an update since it started, by the stat prefix of the subscription; empty if no
        Envoy answers, since the next one counts from 0.
        """
        names = list(stats)
        try:
            found = await self._stats(names) if names else {}
        except OSError:
            return {}
        return {name: int(found.get(f"{name}.update_rejected", "0")) for name in names}

    async def acknowledgement(self, versions: Mapping[str, str], rejected_before: Mapping[str, int]) -> Acknowledgement:
        """Waits until Envoy has accepted all of several files or rejected one.

        Args:
            versions: the ``version_info`` written, by the stat prefix of its subscription.
            rejected_before: ``rejections`` before they were written.
        """
        if not versions:
            return Acknowledgement.ACCEPTED
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                while True:
                    stats = await self._stats(versions)
                    if all(stats.get(f"{stat}.version_text") == version for stat, version in versions.items()):
                        return Acknowledgement.ACCEPTED
                    counts = {stat: int(stats.get(f"{stat}.update_rejected", "0")) for stat in versions}
                    if any(count > rejected_before.get(stat, 0) for stat, count in counts.items()):
                        return Acknowledgement.REJECTED
                    await asyncio.sleep(POLL_SECONDS)
        except (OSError, TimeoutError):
            return Acknowledgement.UNKNOWN

    async def _stats(self, prefixes: Iterable[str]) -> dict[str, str]:
        names = "|".join(re.escape(prefix) for prefix in prefixes)
        lines = await self._get(f"/stats?filter=^({names}).(version_text|update_rejected)$")
        pairs = (line.partition(": ") for line in lines.splitlines())
        return {name: value.strip('"') for name, _, value in pairs}

    async def _get(self, path: str) -> str:
        if self._session is None:
            raise ReportError("EnvoyAdmin is used outside its context")
        try:
            async with self._session.get(path) as response:
                response.raise_for_status()
                return await response.text()
        except aiohttp.ClientError as error:
            raise OSError(f"Envoy's admin interface: {error}") from error
