"""The process that keeps the port while another one serves the model, and replaces it when native code ends it.

The server is a fork of this process, which has loaded all code and opened the socket but runs nothing. Where it is
ended by a signal, what it was answering is lost, and the next fork takes its place within the time that the model
takes to load; connections made meanwhile wait in the socket's backlog. Nothing is run again here; the mesh sends what
had no answer to another pod.

That a crash costs the clients in flight their connection is the price of speed: with the model in a process of its
own behind a socket pair a small request cost 2.7 times the processor time (``docs/benchmarks.md`` has the figures).
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn

from millrace_core.base import signals
from millrace_core.base.errors import MillraceError, ReportError
from millrace_services.inference.flight import FlightRecord, Suspects

logger = logging.getLogger(__name__)

# Seconds before the next process, by the number of crashes within WINDOW; after the last the container ends, which its
# platform restarts with a back-off of its own and shows to people.
DELAYS: Final = (0.0, 1.0, 2.0, 4.0)
WINDOW: Final = 600.0
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT)
CRASHED: Final = "ModelCrashed"
_SET_DEATH_SIGNAL: Final = 1
_TICK_SECONDS: Final = 0.05


def delay(crashes: Sequence[float], now: float) -> float | None:
    """Seconds until the next process may start, by the moments of crashes; None: there were too many of them."""
    recent = sum(now - moment <= WINDOW for moment in crashes)
    return DELAYS[recent - 1] if recent <= len(DELAYS) else None


class Supervisor:
    """Runs a server as a child for as long as it is wanted.

    Attributes:
        record: what the child runs.
        refused: keys of inputs that the child must not run, as they ended one before it.
        suspected: keys of inputs that it must not run beside others, as one of them ended one before it.
        crashes: how often each signal ended a child.

    Args:
        give_up: told why no further child is started.
    """

    def __init__(self, give_up: Callable[[MillraceError], None]) -> None:
        self.record = FlightRecord()
        self.refused: frozenset[int] = frozenset()
        self.suspected: frozenset[int] = frozenset()
        self.crashes: Counter[str] = Counter()
        self._suspects = Suspects()
        self._give_up = give_up
        self._stopping = False
        self._child = 0

    @property
    def is_restart(self) -> bool:
        """Whether an earlier process served before this one."""
        return bool(self.crashes)

    def run(self, serve: Callable[[], int], listener: socket.socket) -> int:
        """Runs ``serve`` in a child, again after crashes; returns the exit code."""

        def stop(number: int, _: object) -> None:
            self._stopping = True
            listener.close()  # once the child closes its own, connections are refused
            if self._child:
                with suppress(ProcessLookupError):  # it has ended just now
                    os.kill(self._child, number)

        for number in _FORWARDED:
            signal.signal(number, stop)
        moments: list[float] = []
        was_warm = False
        while True:
            code = self._one_life(serve)
            if code >= 0 or self._stopping:
                return code if code >= 0 else signals.FIRST_CODE - code
            was_warm |= self.record.warm
            moments.append(time.monotonic())
            pause = self._mourn(-code, moments, was_warm=was_warm)
            if pause is None:
                return signals.FIRST_CODE - code
            until = time.monotonic() + pause
            while time.monotonic() < until and not self._stopping:
                time.sleep(_TICK_SECONDS)
            if self._stopping:
                return 0

    def _one_life(self, serve: Callable[[], int]) -> int:
        """Exit code of one child; negative: the signal that ended it."""
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        if self._stopping:  # nobody would tell a child that begins now
            return 0
        pid = os.fork()
        if pid == 0:
            _become_child(serve, parent)
        self._child = pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
        while True:
            ended, status = os.waitpid(-1, 0)  # as a container's first process it inherits what others leave
            if ended == pid:
                self._child = 0
                return os.waitstatus_to_exitcode(status)

    def _mourn(self, number: int, moments: Sequence[float], *, was_warm: bool) -> float | None:
        """Tells of a crash and remembers what ran; seconds until the next process, or None."""
        name = signals.named(number)
        self.crashes[name.partition(" ")[0]] += 1
        running = self.record.take()
        self._suspects.blame(running, killed=number == signal.SIGKILL)
        self.refused, self.suspected = self._suspects.refused(), self._suspects.suspected()
        pause = delay(moments, moments[-1]) if was_warm else None
        logger.error(
            "the process that ran the model was ended by %s",
            name,
            extra={"signal": number, "running": len(running), "refused": len(self.refused), "restartSeconds": pause},
        )
        if pause is None:
            when = (
                f"{len(DELAYS) + 1} times within {WINDOW / 60:g} minutes, last" if was_warm else "before it was warm,"
            )
            self._give_up(ReportError(f"the process that ran the model was ended {when} by {name}", reason=CRASHED))
        return pause


def _become_child(serve: Callable[[], int], parent: int) -> NoReturn:
    code = 1
    try:
        # A signal to the group reaches the parent, which passes it on once: a second one would cut the drain short.
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() == parent:  # else it ended before it could be asked
            for number in _FORWARDED:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            code = serve()
    except BaseException:
        traceback.print_exc()
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # a thread that hangs in native code is nobody's to wait for
