"""``millrace local up`` until everything is ready: in an empty folder, over existing state, and after a crash.

The command is run as a person runs it, in a process of its own; the figure is its wall time. Below it, when each
component was ready in one run of the first kind.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from millrace_local.stack import LocalStack

RUNS = 5
LIMIT = 5.0  # seconds, at most


def up(root: Path) -> float:
    """Wall seconds of ``millrace local up``."""
    command = [sys.executable, "-m", "millrace.cli.main", "local", "up", "--root", str(root), "--random-ports"]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


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
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        root = Path(folder) / "stack"
        try:
            up(root)  # once, so that byte code and files are there
            good = measure("in an empty folder", root, down, purge=True)
            timeline(root)
            down(root)
            good = measure("over existing state", root, down, purge=False) and good
            good = measure("after a crash", root, crash, purge=False) and good
        finally:
            down(root)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
