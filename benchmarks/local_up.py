"""``millrace local up`` until everything is ready: in an empty folder, over existing state, and after a crash.

The command is run as a person runs it, in a process of its own; the figure is its wall time. Below it, when each
component was ready in one run of the first kind, and the processor time that it had taken by then, which decides how
long the start takes.
"""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from millrace_local.stack import LocalStack, processes

RUNS = 5
LIMIT = 5.0  # seconds, at most
# Without byte code, which this keeps Python from writing, every process would compile all that it imports.
NO_BYTE_CODE = "PYTHONDONTWRITEBYTECODE"
_TICKS = os.sysconf("SC_CLK_TCK")


def up(root: Path) -> float:
    """Wall seconds of ``millrace local up``."""
    command = [sys.executable, "-m", "millrace.cli.main", "local", "up", "--root", str(root), "--random-ports"]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def spent(root: Path) -> dict[str, float]:
    """Processor seconds of every process of the stack so far, by its module or program."""
    taken: dict[str, float] = {}
    for process in processes.marked(root):
        words = processes.command_line(process.pid).split()
        name = words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name if words else "?"
        taken[name] = taken.get(name, 0.0) + _seconds(process.pid)
    return taken


def _seconds(pid: int) -> float:
    """Processor seconds of a process and of its children that have ended; see proc_pid_stat(5)."""
    fields = (processes.PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, fields)) / _TICKS


def down(root: Path) -> None:
    LocalStack(root).down()


def crash(root: Path) -> None:
    """Ends it as a lost power supply does, and waits until the kernel has cleared up."""
    stack = LocalStack(root)
    os.kill(stack.status().supervisor.pid, signal.SIGKILL)
    stack.down()


def measure(title: str, root: Path, end: Callable[[Path], None], *, purge: bool) -> bool:
    """Runs ``up`` and ``end`` a few times; prints the median beside the limit."""
    seconds = []
    for _ in range(RUNS):
        if purge:
            LocalStack(root).down(purge=True)
        seconds.append(up(root))
        end(root)
    median = statistics.median(seconds)
    spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
    print(f"up to ready, {title:<28} {median:6.2f} s   limit {LIMIT:.0f} s   ({spread} in {RUNS} runs)", flush=True)
    return median <= LIMIT


def costs(root: Path) -> None:
    """Prints the processor seconds that each process takes until all is ready, in an empty folder."""
    LocalStack(root).down(purge=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    up(root)
    after, taken = resource.getrusage(resource.RUSAGE_CHILDREN), spent(root)
    taken["millrace local up"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    taken["millrace_local.stack"] = _seconds(LocalStack(root).status().supervisor.pid)
    shown = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in sorted(taken.items(), key=lambda item: -item[1]))
    print(f"processor time until ready {sum(taken.values()):.2f} s: {shown}", flush=True)


def timeline(root: Path) -> None:
    """Prints when each component was ready, from the start of one run."""
    stack, ready = LocalStack(root, ports="random"), dict[str, float]()
    began = time.monotonic()
    LocalStack(root).down(purge=True)
    stack.up(
        60,
        lambda now: (
            [
                ready.setdefault(name, time.monotonic() - began)
                for name, one in now.components.items()
                if one.health == "ready"
            ]
            and None
        ),
    )
    print("  " + ", ".join(f"{name} {at:.2f} s" for name, at in sorted(ready.items(), key=lambda item: item[1])))


def main() -> int:
    """Returns 1 if a median is above the limit."""
    os.environ.pop(NO_BYTE_CODE, None)
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        root = Path(folder) / "stack"
        try:
            up(root)  # once, so that byte code and files are there
            good = measure("in an empty folder", root, down, purge=True)
            timeline(root)
            costs(root)
            down(root)
            good = measure("over existing state", root, down, purge=False) and good
            good = measure("after a crash", root, crash, purge=False) and good
        finally:
            down(root)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
