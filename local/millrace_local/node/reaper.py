"""A small process that ends what the agent started when the agent dies.

It reads ``+<pid>`` and ``-<pid>`` lines from its standard input: process groups that started and ended. When the input
ends, because the agent is gone, it kills the groups that are left. It is run by its path and imports nothing slow.
"""

import os
import signal
import sys


def start_time(pid: int) -> str:
    """The start time of a process in clock ticks; "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib would triple the start time
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, str] = {}
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups[pid] = start_time(pid)
        else:
            groups.pop(pid, None)
    for pid, started in groups.items():
        # Another start time means that the group ended and its number was given to another process.
        if start_time(pid) in (started, ""):
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__":
    main()
