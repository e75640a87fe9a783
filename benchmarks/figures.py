"""What benchmarks share: work measured in a process of its own, contenders in turns, and figures beside limits.

Only the standard library is used, because scripts that run in Feast's environment measure themselves by it, too.
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
    """One measurement: seconds, processor seconds of all threads, peak memory in MB, and rows that came out.

    On a busy machine the processor time says what the seconds cannot.
    """

    seconds: float
    cpu: float
    memory: float
    rows: int


def report(work: Callable[[], int]) -> None:
    """Does the work (which returns its rows), and prints its sample for the process that measures."""
    began, busy = time.perf_counter(), time.process_time()
    rows = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - busy
    print(json.dumps(Sample(seconds, cpu, peak_memory("self"), rows)))


def peak_memory(pid: int | str) -> float:
    """The most memory that a process has held, in MB. Not ru_maxrss, which it inherits from the one that started it."""
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(peak[1]) / 1024 if peak else 0.0


def processor_seconds(pid: int) -> float:
    """Processor time that a process has had."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measured(command: Sequence[str], **environment: str) -> Sample:
    """Runs a process that reports."""
    done = subprocess.run(
        command, capture_output=True, check=False, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return Sample(*json.loads(done.stdout.splitlines()[-1]))


def in_turns(contenders: Mapping[str, Callable[[], Sample]], rounds: int) -> dict[str, list[Sample]]:
    """Every contender once per round, so that what else the machine does meets all alike."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, measure in contenders.items():
            samples[name].append(measure())
    return samples


def median(samples: Sequence[Sample]) -> Sample:
    """Of each figure on its own."""
    seconds, cpu, memory, rows = (statistics.median(values) for values in zip(*samples, strict=True))
    return Sample(seconds, cpu, memory, int(rows))


def ratio(ours: Sequence[Sample], others: Sequence[Sample], figure: str = "seconds") -> float:
    """The median over rounds of our figure divided by another's of the same round."""
    pairs = zip(ours, others, strict=True)
    return statistics.median(getattr(our, figure) / getattr(other, figure) for our, other in pairs)


def beside(value: str, limit: str, *, met: bool) -> str:
    """A figure with its limit."""
    return f"{value} (limit {limit}){'' if met else ' MISSED'}"


def machine() -> str:
    """Under what load figures are taken."""
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, load average {loads}"
