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
class Outcome:
    """What clients saw: per answered request its deployment, patient, probability and latency; the rest by error."""

    deployments: list[str] = field(default_factory=list)
    patients: list[int] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def share(self, deployment: str) -> float:
        """Part of the answered requests, 0 to 1, that ``deployment`` served."""
        return self.deployments.count(deployment) / max(len(self.deployments), 1)


async def send(
    ingress: str, host: str, patients: Sequence[int], connections: int, progress: Callable[[int], None]
) -> Outcome:
    """Asks for one prediction per patient; a failed request is recorded, never repeated."""
    outcome = Outcome()
    queue = list(reversed(patients))

    async def worker(session: aiohttp.ClientSession) -> None:
        while queue:
            await _ask(session, f"{ingress}/predict", host, queue.pop(), outcome)
            progress(len(outcome.seconds) + len(outcome.failures))

    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(connections)))
    return outcome


async def _ask(session: aiohttp.ClientSession, url: str, host: str, patient: int, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        async with session.post(url, json={"entities": {"patient_id": [patient]}}, headers={"Host": host}) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome.failures.append(f"patient {patient}: {type(error).__name__} {error}")
        return
    if answer.status != OK:
        outcome.failures.append(f"patient {patient}: HTTP {answer.status} {body[:200].decode(errors='replace')}")
        return
    outcome.seconds.append(time.perf_counter() - started)
    outcome.deployments.append(answer.headers["x-millrace-deployment"])
    outcome.patients.append(patient)
    outcome.probabilities.append(orjson.loads(body)["outputs"]["probabilities"][0][1])
