"""The demo's live traffic: predictions by patient id, through the mesh, on a few connections."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

OK = 200


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

    async def worker(client: httpx.AsyncClient) -> None:
        while queue:
            await _ask(client, host, queue.pop(), outcome)
            progress(len(outcome.seconds) + len(outcome.failures))

    async with httpx.AsyncClient(base_url=ingress, timeout=10, trust_env=False) as client:
        await asyncio.gather(*(worker(client) for _ in range(connections)))
    return outcome


async def _ask(client: httpx.AsyncClient, host: str, patient: int, outcome: Outcome) -> None:
    started = time.perf_counter()
    try:
        answer = await client.post("/predict", json={"entities": {"patient_id": [patient]}}, headers={"host": host})
    except httpx.HTTPError as error:
        outcome.failures.append(f"patient {patient}: {type(error).__name__} {error}")
        return
    if answer.status_code != OK:
        outcome.failures.append(f"patient {patient}: HTTP {answer.status_code} {answer.text[:200]}")
        return
    outcome.seconds.append(time.perf_counter() - started)
    outcome.deployments.append(answer.headers["x-millrace-deployment"])
    outcome.patients.append(patient)
    outcome.probabilities.append(answer.json()["outputs"]["probabilities"][0][1])
