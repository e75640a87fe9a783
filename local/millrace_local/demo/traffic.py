"""The demo's live traffic: predictions by patient id, through the mesh, on a few connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import orjson

OK = 200
SECONDS = 10.0


@dataclass
class TrafficResult:
    """Deployment, patient, probability and latency (seconds) of each answered request; messages of the failed ones."""

    deployments: list[str] = field(default_factory=list)
    patients: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def share(self, deployment: str) -> float:
        """The part of the answered requests, 0 to 1, that ``deployment`` served."""
        return self.deployments.count(deployment) / max(len(self.deployments), 1)


async def send(
    ingress: str, host: str, patients: Sequence[int], connections: int, progress: Callable[[int], None]
) -> TrafficResult:
    """Requests one prediction per patient; a failed request is recorded, never repeated."""
    result = TrafficResult()
    queue = list(reversed(patients))

    async def worker(session: aiohttp.ClientSession) -> None:
        while queue:
            await _predict(session, f"{ingress}/predict", host, queue.pop(), result)
            progress(len(result.seconds) + len(result.failures))

    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(connections)))
    return result


async def _predict(session: aiohttp.ClientSession, url: str, host: str, patient: int, result: TrafficResult) -> None:
    started = time.perf_counter()
    try:
        async with session.post(url, json={"entities": {"patient_id": [patient]}}, headers={"Host": host}) as response:
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        result.failures.append(f"patient {patient}: {type(error).__name__} {error}")
        return
    if response.status != OK:
        result.failures.append(f"patient {patient}: HTTP {response.status} {body[:200].decode(errors='replace')}")
        return
    result.seconds.append(time.perf_counter() - started)
    result.deployments.append(response.headers["x-millrace-deployment"])
    result.patients.append(patient)
    result.probabilities.append(orjson.loads(body)["outputs"]["probabilities"][0][1])
