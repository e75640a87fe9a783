"""What benchmarks share: measurements in a process of their own, contenders in turns, and figures beside limits.

It uses only the standard library, because scripts in Feast's environment use it, too.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent


class Sample(NamedTuple):
    """One measurement: seconds, processor seconds of all threads, peak memory in MB, and the number of rows.

    Processor time is what can be compared on a busy machine.
    """

    seconds: float
    cpu: float
    memory: float
    rows: int


def report(work: Callable[[], int]) -> None:
    """Runs ``work``, which returns a number of rows, and prints its sample for ``measured`` to read."""
    began, busy = time.perf_counter(), time.process_time()
    rows = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps(Sample(seconds, cpu, peak_memory("self"), rows)))


def peak_memory(pid: int | str) -> float:
    """The peak memory of a process in MB. Not ``ru_maxrss``, which a process inherits from its parent."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak[1]) / 1024 if peak else 0.0


def processor_seconds(pid: int) -> float:
    """The processor time of a process so far, in seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measured(command: Sequence[str], **environment: str) -> Sample:
    """Runs a process that calls ``report``; returns its sample."""
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return Sample(*json.loads(done.stdout.splitlines()[-1]))


def in_turns(contenders: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Measures every contender once per round, so that other load on the machine affects all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def median(samples: Sequence[Sample]) -> Sample:
    """The median of each figure on its own."""
    seconds, cpu, memory, rows = (statistics.median(values) for values in zip(*samples, strict=True))
    return Sample(seconds, cpu, memory, int(rows))


def ratio(ours: Sequence[Sample], others: Sequence[Sample], figure: str = "seconds") -> float:
    """The median over rounds of our figure divided by the other's figure of the same round."""
    pairs = zip(ours, others, strict=True)
    return statistics.median(getattr(our, figure) / getattr(other, figure) for our, other in pairs)


def beside(value: str, limit: str, *, met: bool) -> str:
    """A figure with its limit."""
    return f"{value} (limit {limit}){'' if met else ' MISSED'}"


def machine() -> str:
    """The load under which figures are taken."""
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load average {loads}"
