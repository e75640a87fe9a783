"""Signals that end processes, in words for people who did not send them."""

from __future__ import annotations

import signal
from typing import Final

# A shell's way, and a container runtime's, to say that a signal ended a process.
FIRST_CODE: Final = 128

_MEANINGS: Final = {
    signal.SIGFPE: "integer arithmetic without a result, such as INT_MIN / -1",
    signal.SIGSEGV: "an access to memory that is not there, a fault of native code or a broken model",
    signal.SIGBUS: "an access to memory that cannot be had, such as a mapped file that was cut off",
    signal.SIGILL: "an instruction that this processor does not have",
    signal.SIGABRT: "native code gave up",
    signal.SIGKILL: "from outside, or by the kernel for want of memory",
    signal.SIGTERM: "it was told to end",
    signal.SIGSYS: "a system call that its seccomp profile forbids",
    signal.SIGXCPU: "the limit of processor time",
}


def named(number: int) -> str:
    """``SIGFPE (integer arithmetic without a result, such as INT_MIN / -1)``; ``signal 77`` where it has no name."""
    try:
        known = signal.Signals(number)
    except ValueError:
        return f"signal {number}"
    meaning = _MEANINGS.get(known)
    return f"{known.name} ({meaning})" if meaning else known.name


def of_exit(code: int, number: int = 0) -> int:
    """The signal that ended a container, or 0.

    Args:
        code: its exit code; most runtimes say 128 + n for signal n.
        number: the ``signal`` field beside it, which few runtimes set.
    """
    if number > 0:
        return number
    return code - FIRST_CODE if FIRST_CODE < code < FIRST_CODE + signal.NSIG else 0


def ended(code: int, number: int = 0) -> str:
    """How a container ended: ``ended by SIGFPE (…)`` or ``ended with exit code 3``."""
    found = of_exit(code, number)
    return f"ended by {named(found)}" if found else f"ended with exit code {code}"
