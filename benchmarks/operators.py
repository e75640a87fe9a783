"""The operators under load: one object, 750 objects at once, an idle phase, and a restart with all of them.

The API server and the operator run as processes of their own. No controllers and no node run, so the figures are those
of the operator alone. Each figure is printed beside its limit.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from millrace_local.apiserver.process import RunningServer, start
from millrace_local.stack.launch import packaged_third_party
from millrace_local.stack.ports import free_ports
from tests.builders import experiment, feature_view, model_deployment

ROOT = Path(__file__).parent.parent
GROUP = "/apis/millrace.dev/v1alpha1/namespaces/default"
VIEWS, DEPLOYMENTS, EXPERIMENTS = 500, 200, 50
SINGLE = 21
REST_SECONDS = 20.0
CONNECTIONS = 8
TIMEOUT = 120.0

# Kinds of which a settled object's children are; a Deployment has a stable and an arms Service per service name.
CHILDREN = {
    "cronjobs": "/apis/batch/v1/namespaces/default/cronjobs",
    "jobs": "/apis/batch/v1/namespaces/default/jobs",
    "deployments": "/apis/apps/v1/namespaces/default/deployments",
    "services": "/api/v1/namespaces/default/services",
    "disruptionbudgets": "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
    "virtualservices": "/apis/networking.istio.io/v1/namespaces/default/virtualservices",
    "destinationrules": "/apis/networking.istio.io/v1/namespaces/default/destinationrules",
}
EXPECTED = {
    "cronjobs": VIEWS,
    "jobs": VIEWS,
    "deployments": DEPLOYMENTS,
    "services": 2 * (DEPLOYMENTS - EXPERIMENTS),
}

Versions = dict[str, str]


@dataclass
class OperatorProcess:
    """One operator process."""

    process: subprocess.Popen[bytes]
    port: int

    def rss_mib(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss) / 2**20

    def cpu_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """Kills it, as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_operator(server: RunningServer, log: Path) -> OperatorProcess:
    port = free_ports().operator
    environment = {
        **os.environ,
        "KUBECONFIG": str(server.kubeconfig),
        "MILLRACE_HOST": "127.0.0.1",
        "MILLRACE_HEALTH_PORT": str(port),
        "MILLRACE_NAMESPACE": "default",
        "MILLRACE_STORE_URL": "redis://127.0.0.1:6379",
    }
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "millrace_operators.operator"], env=environment, stdout=sink, stderr=sink
        )
    return OperatorProcess(process, port)


async def wait_ready(session: aiohttp.ClientSession, operator: OperatorProcess) -> None:
    """Waits until the operator leads and its cache is complete."""

    async def ready() -> bool:
        try:
            async with session.get(f"http://127.0.0.1:{operator.port}/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    await until(ready)


async def until(check: Callable[[], Awaitable[bool]], pause: float = 0.05) -> None:
    """Waits until ``check`` is true.

    Raises:
        TimeoutError: it is not true in time.
    """
    deadline = time.monotonic() + TIMEOUT
    while not await check():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(pause)


async def listed(session: aiohttp.ClientSession, url: str) -> Versions:
    """uid to resourceVersion of every object in a collection."""
    async with session.get(url) as answer:
        items = (await answer.json())["items"]
    return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in items}


async def children(session: aiohttp.ClientSession, server: RunningServer) -> dict[str, Versions]:
    """Every child, by kind."""
    return {kind: await listed(session, server.url + path) for kind, path in CHILDREN.items()}


async def everything(session: aiohttp.ClientSession, server: RunningServer) -> dict[str, Versions]:
    """Every child and every object of the three kinds: what a write would change."""
    plurals = ("featureviews", "modeldeployments", "experiments")
    kinds = {plural: await listed(session, f"{server.url}{GROUP}/{plural}") for plural in plurals}
    return {**await children(session, server), **kinds}


async def settle(session: aiohttp.ClientSession, server: RunningServer, seconds: float = 3.0) -> dict[str, Versions]:
    """Waits until nothing was written for ``seconds``; returns all versions."""
    last, since = await everything(session, server), time.monotonic()
    while time.monotonic() - since < seconds:
        await asyncio.sleep(0.2)
        if (now := await everything(session, server)) != last:
            last, since = now, time.monotonic()
    return last


async def create(session: aiohttp.ClientSession, server: RunningServer, objects: list[dict[str, Any]]) -> None:
    """Creates the objects over a few connections."""
    waiting = list(reversed(objects))

    async def one() -> None:
        while waiting:
            document = waiting.pop()
            path = f"{server.url}{GROUP}/{document['kind'].lower()}s"
            async with session.post(path, data=json.dumps(document)) as answer:
                if answer.status != 201:
                    raise RuntimeError(await answer.text())

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))


def all_objects() -> list[dict[str, Any]]:
    """500 views, 200 deployments (the first 100 in pairs of one service) and 50 experiments on those pairs."""
    views = [feature_view(f"view-{index}", "file:///nowhere/").build() for index in range(VIEWS)]
    deployments = [
        model_deployment(
            f"model-{index}", "file:///nowhere/model.onnx", f"pair-{index // 2}" if index < 2 * EXPERIMENTS else None
        ).build()
        for index in range(DEPLOYMENTS)
    ]
    experiments = [
        experiment(f"trial-{index}", f"pair-{index}", f"model-{2 * index}", f"model-{2 * index + 1}").build()
        for index in range(EXPERIMENTS)
    ]
    return views + deployments + experiments


async def single(session: aiohttp.ClientSession, server: RunningServer) -> float:
    """Median milliseconds from one FeatureView's creation to its CronJob and first Job."""
    found = []
    for index in range(SINGLE):
        name = f"single-{index}"
        began = time.perf_counter()
        await create(session, server, [feature_view(name, "file:///nowhere/").build()])
        selector = f"?labelSelector=millrace.dev/view%3D{name}"

        async def written(selector: str = selector) -> bool:
            return all([await listed(session, server.url + CHILDREN[kind] + selector) for kind in ("cronjobs", "jobs")])

        await until(written, 0.005)
        found.append((time.perf_counter() - began) * 1000)
        view = f"{server.url}{GROUP}/featureviews/{name}"
        async with session.delete(view):
            pass
        # No node runs the Job that deletes its rows: it would wait, and be told of, for as long as this runs.
        released = {"content-type": "application/merge-patch+json"}
        async with session.patch(view, data='{"metadata": {"finalizers": null}}', headers=released):
            pass
    return statistics.median(found)


def report(name: str, value: float, unit: str, limit: float, digits: int = 1) -> None:
    """Prints a figure beside its upper limit."""
    verdict = "ok" if value <= limit else "MISSED"
    print(f"{name:<55} {value:>10.{digits}f} {unit:<5} limit {limit:g} {unit} {verdict}", flush=True)


async def measure(server: RunningServer, log: Path) -> None:
    """Takes all figures, in order."""
    operator = start_operator(server, log)
    timeout = aiohttp.ClientTimeout(total=60)
    known = server.connection
    headers = {**known.authorization(), "content-type": "application/json"}
    connector = aiohttp.TCPConnector(ssl=known.tls or True)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers, connector=connector) as session:
        await wait_ready(session, operator)
        report("one FeatureView: create to all children, median", await single(session, server), "ms", 300)
        await settle(session, server)

        before = await _at_once(session, server, operator)
        await _at_rest(session, server, operator, before)
        operator.stop()
        await _restarted(session, server, log, before)


async def _at_once(
    session: aiohttp.ClientSession, server: RunningServer, operator: OperatorProcess
) -> dict[str, Versions]:
    """All objects at once; returns the versions of what is there then."""
    began = time.perf_counter()
    await create(session, server, all_objects())
    applied = time.perf_counter() - began

    async def complete() -> bool:
        there = await children(session, server)
        return all(len(there[kind]) >= count for kind, count in EXPECTED.items())

    await until(complete, 0.2)
    report("750 objects at once: all children", time.perf_counter() - began, "s", 60)
    print(f"  (creating the 750 objects took {applied:.1f} s of it)")
    # No node runs the Jobs, and of each it is told after ten seconds that it has no pods.
    settled = await settle(session, server, 13.0)
    report("operator's memory with 750 objects", operator.rss_mib(), "MiB", 300)
    return settled


async def _at_rest(
    session: aiohttp.ClientSession, server: RunningServer, operator: OperatorProcess, before: dict[str, Versions]
) -> None:
    cpu = operator.cpu_seconds()
    await asyncio.sleep(REST_SECONDS)
    busy = (operator.cpu_seconds() - cpu) / REST_SECONDS * 100
    after = await everything(session, server)
    report("at rest: part of a core", busy, "%", 5)
    report("at rest: objects written", _changed(before, after), "", 0, 0)


async def _restarted(
    session: aiohttp.ClientSession, server: RunningServer, log: Path, before: dict[str, Versions]
) -> None:
    began = time.perf_counter()
    operator = start_operator(server, log)
    await wait_ready(session, operator)
    ready = time.perf_counter() - began
    after = await settle(session, server)
    settled = time.perf_counter() - began - 3.0
    print(f"  (restart: leading with a complete cache after {ready:.1f} s)")
    report("restart over 750 objects: settled", max(settled, ready), "s", 20)
    report("restart: objects written", _changed(before, after), "", 0, 0)
    operator.stop()


def _changed(before: dict[str, Versions], after: dict[str, Versions]) -> int:
    """The number of objects that were written, created or deleted; prints their kinds."""
    counts = {
        kind: sum(before[kind].get(uid) != after[kind].get(uid) for uid in before[kind].keys() | after[kind].keys())
        for kind in before
    }
    if any(counts.values()):
        print(f"  (written: {', '.join(f'{count} {kind}' for kind, count in counts.items() if count)})")
    return sum(counts.values())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        server = start(data, kubeconfig=data / "kubeconfig", crds=[ROOT / "crds", packaged_third_party()])
        try:
            asyncio.run(measure(server, data / "operator.log"))
        except BaseException:
            print((data / "operator.log").read_text()[-4000:] if (data / "operator.log").exists() else "no log")
            raise
        finally:
            server.stop()


if __name__ == "__main__":
    main()
