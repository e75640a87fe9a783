"""The ports of a stack: fixed or free ones, and which process holds one that is taken."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict

from millrace_core.base.errors import RejectError
from millrace_local.stack import processes
from millrace_local.stack.settings import HOST, Ports

HIGHEST_PORT = 65535
OPTIONS: Mapping[str, str] = {
    "api": "--api-port",
    "ingress": "--ingress-port",
    "store": "--store-port",
    "operator": "--operator-port",
}


def free_ports() -> Ports:
    """Distinct ports that are free now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in OPTIONS]
        for one in sockets:
            one.bind((HOST, 0))
        return Ports(*(one.getsockname()[1] for one in sockets))


def check_free(ports: Ports, used: Iterable[str]) -> None:
    """Checks that the ports named ``used`` are free.

    Raises:
        RejectError: one is taken or no valid port; names it, its option, and the process that holds it if that
            is known.
    """
    numbers: dict[int, str] = {}
    for name in used:
        number = asdict(ports)[name]
        option = OPTIONS[name]
        if not 0 < number <= HIGHEST_PORT:
            raise RejectError(f"{number} is no TCP port", hint=f"Give one from 1 to {HIGHEST_PORT}", field=option)
        if number in numbers:
            raise RejectError(f"port {number} is also that of {numbers[number]}", hint="Give another", field=option)
        numbers[number] = option
        _check(number, option)


def _check(number: int, option: str) -> None:
    with socket.socket() as one:
        # A port that was closed a moment ago is free: the servers listen with this option, too.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, number))
        except PermissionError as error:
            raise RejectError(
                f"port {number} on {HOST} is not allowed to this user", hint="Give one above 1023", field=option
            ) from error
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return
    pid = processes.holder(number)
    who = f"process {pid} ({processes.command_line(pid)[:100]})" if pid else "a process of another user"
    raise RejectError(
        f"port {number} on {HOST} is taken by {who}",
        hint=f"Stop it, or give another port with {option}",
        field=option,
        reason="PortInUse",
    )
