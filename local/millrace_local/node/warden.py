"""A tiny process that outlives the agent only to end what the agent started.

It reads ``+<pid>`` and ``-<pid>`` lines from its standard input, the process groups that live; when the input ends (the
agent is gone, however it went), it kills those left. It is run by its path and imports nothing that is slow.
"""

import os
import signal
import sys


def start_time(pid: int) -> str:
    """When the process started, in the kernel's ticks; "" when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib would triple the start time
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def main() -> None:
    """Follows the agent until its end."""
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
        # A leader with another start time means that the group ended and its number serves somebody else.
        if start_time(pid) in (started, ""):
            try:
                os.killpg(pid, signal.SIGKILL)
            except OSError:
                continue


if __name__ == "__main__":
    main()
