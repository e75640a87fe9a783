"""Performs probes and hooks: by HTTP, TCP or command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp

from millrace_core.base.errors import RetryError
from millrace_kube.resources import Object

# A command's exit code and output.
Run = Callable[[list[str], float], Awaitable[tuple[int, str]]]

LONGEST_OUTPUT = 1024
_OK = range(200, 400)


class ProbeFailedError(RetryError):
    """A probe or hook failed; the message is that of the Event."""

    reason = "Unhealthy"


class Prober:
    """Performs the probes and hooks of one pod."""

    def __init__(self, session: aiohttp.ClientSession, address: str) -> None:
        self._session = session
        self._address = address

    async def perform(self, action: Object, container: Object, seconds: float, run: Run) -> None:
        """Performs one of ``httpGet``, ``tcpSocket``, ``exec``, ``sleep``.

        Args:
            action: the probe or hook.
            container: the container, whose ports ``action`` may name.
            seconds: the timeout.
            run: runs a command of the container.

        Raises:
            ProbeFailedError: it failed; says how.
        """
        try:
            async with asyncio.timeout(seconds):
                if action.get("httpGet"):
                    await self._http(action["httpGet"], container)
                elif action.get("tcpSocket"):
                    await self._tcp(action["tcpSocket"], container)
                elif action.get("exec") is not None:
                    await self._command(action["exec"].get("command") or [], seconds, run)
                elif action.get("sleep"):
                    await asyncio.sleep(action["sleep"]["seconds"])
                else:
                    raise ProbeFailedError("only httpGet, tcpSocket and exec probes work on the embedded node")
        except TimeoutError as error:
            raise ProbeFailedError(f"no answer within {seconds:g} s") from error

    async def _http(self, get: Object, container: Object) -> None:
        scheme = (get.get("scheme") or "HTTP").lower()
        path = get.get("path") or "/"
        url = f"{scheme}://{get.get('host') or self._address}:{port(get['port'], container)}/{path.removeprefix('/')}"
        headers = {header["name"]: header["value"] for header in get.get("httpHeaders") or []}
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status not in _OK:
                    raise ProbeFailedError(f"HTTP probe failed with statuscode: {response.status}")
        except (aiohttp.ClientError, OSError) as error:
            raise ProbeFailedError(f"Get {url!r}: {error or type(error).__name__}") from error

    async def _tcp(self, socket: Object, container: Object) -> None:
        host, number = socket.get("host") or self._address, port(socket["port"], container)
        try:
            _, writer = await asyncio.open_connection(host, number)
        except OSError as error:
            raise ProbeFailedError(f"dial tcp {host}:{number}: {error.strerror or error}") from error
        writer.close()

    async def _command(self, command: list[str], seconds: float, run: Run) -> None:
        try:
            code, output = await run(command, seconds)
        except OSError as error:
            raise ProbeFailedError(f"cannot run {command!r}: {error.strerror}") from error
        if code:
            raise ProbeFailedError(output[-LONGEST_OUTPUT:].strip() or f"command failed with exit code {code}")


def port(value: int | str, container: Object) -> int:
    """A port by number or by the name of a container port.

    Raises:
        ProbeFailedError: the container has no port of that name.
    """
    if isinstance(value, int):
        return value
    for candidate in container.get("ports") or []:
        if candidate.get("name") == value:
            return int(candidate["containerPort"])
    if value.isdigit():
        return int(value)
    raise ProbeFailedError(f"container {container['name']} has no port named {value!r}")


def session() -> aiohttp.ClientSession:
    """The HTTP session of all probes: a new connection for each, certificates not verified (as in a kubelet)."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=False, force_close=True, limit=0),
        headers={"User-Agent": "kube-probe/millrace", "Accept": "*/*"},
    )
