"""The operators' runtime inside a test, against a real embedded API server; and the server seen from outside."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx

from millrace_kube import connection
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.client import Client
from millrace_kube.resources import NAMESPACES, Object, Resource
from millrace_kube.runtime import Controller, Runtime
from millrace_local.apiserver import thirdparty
from millrace_local.apiserver.process import RunningServer
from tests.api_client import client_of
from tests.api_server import start

REPOSITORY = Path(__file__).parents[2]
WRITES = "create|update|patch|delete|deletecollection"
AGENT = "millrace-operator"

_numbers = itertools.count(1)


def start_server(folder: Path) -> RunningServer:
    """An API server with all CRDs and with ``/faults``."""
    crds = [REPOSITORY / "crds", Path(thirdparty.__path__[0])]
    return start(folder / "data", kubeconfig=folder / "kubeconfig", crds=crds, faults=True)


class Api:
    """The API server as a user sees it, without the operators' own client."""

    def __init__(self, server: RunningServer) -> None:
        self._http = client_of(server, **{"User-Agent": "a-user"})

    def close(self) -> None:
        """Ends the connection."""
        self._http.close()

    def namespace(self) -> str:
        """A fresh namespace."""
        name = f"test-{next(_numbers)}"
        self.create(NAMESPACES, {"metadata": {"name": name}})
        return name

    def create(self, resource: Resource, document: Object) -> Object:
        """Creates."""
        namespace = document["metadata"].get("namespace", "")
        typed = {"apiVersion": resource.api_version, "kind": resource.kind, **document}
        return self._did(self._http.post(resource.path(namespace), json=typed))

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """The object or None."""
        answer = self._http.get(resource.path(namespace, name))
        return None if answer.status_code == 404 else self._did(answer)

    def list(self, resource: Resource, namespace: str = "", selector: str = "") -> list[Object]:
        """All objects."""
        answer = self._http.get(resource.path(namespace), params={"labelSelector": selector} if selector else {})
        items: list[Object] = self._did(answer)["items"]
        return items

    def merge(self, resource: Resource, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        """Patches."""
        path = resource.path(namespace, name, subresource)
        return self._did(self._http.patch(path, json=patch, headers={"Content-Type": "application/merge-patch+json"}))

    def apply(self, resource: Resource, namespace: str, document: Object, manager: str) -> Object:
        """Applies as another field manager, which takes what it states."""
        path = resource.path(namespace, document["metadata"]["name"])
        headers = {"Content-Type": "application/apply-patch+yaml"}
        about = {"fieldManager": manager, "force": "true"}
        return self._did(self._http.patch(path, json=document, headers=headers, params=about))

    def delete(self, resource: Resource, namespace: str, name: str, propagation: str = "Background") -> None:
        """Deletes."""
        path = resource.path(namespace, name)
        answer = self._http.request("DELETE", path, json={"propagationPolicy": propagation})
        assert answer.status_code in (200, 202, 404), answer.text

    def fault(self, *rules: dict[str, Any]) -> None:
        """Sets the rules in force."""
        self._did(self._http.put("/faults", json=list(rules)))

    def rules(self) -> list[dict[str, Any]]:
        """The rules in force with their counters."""
        rules: list[dict[str, Any]] = self._did(self._http.get("/faults"))["rules"]
        return rules

    def no_faults(self) -> None:
        """Takes all rules away."""
        self._did(self._http.delete("/faults"))

    def forget_history(self) -> None:
        """Every watch from an earlier version is answered 410 from now on."""
        self._did(self._http.post("/faults/forget-history"))

    def drop_watches(self) -> None:
        """Cuts all watches."""
        self._did(self._http.post("/faults/drop-watches"))

    def count_writes(self) -> None:
        """Counts the operators' writes from now on; ``writes`` tells."""
        self.fault({"verb": WRITES, "userAgent": AGENT, "action": "latency", "seconds": 0})

    def writes(self) -> int:
        """Writes since ``count_writes``."""
        return int(self.rules()[0]["calls"])

    @staticmethod
    def _did(answer: httpx.Response) -> Any:
        assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.text}"
        return answer.json()


@dataclass
class Running:
    """Operators at work."""

    runtime: Runtime
    client: Client

    async def settle(self, quiet: float = 0.3, seconds: float = 20.0) -> None:
        """Returns once no reconcile was wanted for a while."""
        loop = asyncio.get_running_loop()
        end, calm_since = loop.time() + seconds, loop.time()
        while loop.time() - calm_since < quiet:
            assert loop.time() < end, "the operators do not come to rest"
            await asyncio.sleep(0.02)
            if not self.runtime.queue.idle or not self.runtime.synced:
                calm_since = loop.time()


Factory = Callable[[CachedClient], Iterable[Controller]]


@asynccontextmanager
async def operators(
    server: RunningServer,
    factory: Factory,
    *,
    resync: float = 300.0,
    clock: Callable[[], datetime] | None = None,
    make_client: Callable[[Any], Client] = Client,
) -> AsyncIterator[Running]:
    """Runs controllers as the operator's process does, without its Lease."""
    environ = {"KUBECONFIG": str(server.kubeconfig)}
    found = await connection.connect(environ)
    async with make_client(found) as client:
        cluster = CachedClient(client, Cache(), clock=clock) if clock else CachedClient(client, Cache())
        runtime = Runtime(cluster, factory(cluster), resync=resync, random=Random(7))
        watching = runtime.watch(partial(connection.connect, environ))
        tasks = [asyncio.create_task(runtime.run()), asyncio.create_task(watching)]
        try:
            yield Running(runtime, client)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if not isinstance(error, asyncio.CancelledError):
                raise error or AssertionError("a task of the operators ended")


async def eventually(holds: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits until ``holds()`` is true, and gives what it was."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert loop.time() < end, f"not within {seconds:g} s: {holds}"
        await asyncio.sleep(0.02)
