"""``python -m millrace_local.stack ROOT``: the supervisor of the stack in ROOT, as its ``stack.json`` says.

``LocalStack`` starts it, after it has checked the ports and written that file.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from millrace_core.base.errors import MillraceError
from millrace_core.base.lazy_import import lazy_import
from millrace_local.stack import processes
from millrace_local.stack.components import NODE, components_of
from millrace_local.stack.launch import environment, programs
from millrace_local.stack.prepare import prepare
from millrace_local.stack.settings import StackPaths, StackSettings
from millrace_local.stack.stack import EXIT_ALREADY_RUNNING
from millrace_local.stack.state import StackState
from millrace_local.stack.supervisor import Supervisor, until_signalled

if TYPE_CHECKING:
    from millrace_local.stack import attach
else:
    # The client of a foreign cluster comes with it, for which no stack of its own need wait.
    attach = lazy_import("millrace_local.stack.attach")


def main() -> int:
    """Runs until SIGTERM or SIGINT. Exit code 2: it cannot start; 3: another supervisor has the folder."""
    parser = argparse.ArgumentParser(prog="python -m millrace_local.stack", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument(
        "--parent", type=int, default=0, help="end when the process with this id, which started this, ends"
    )
    arguments = parser.parse_args()
    os.umask(0o077)  # what every process of the stack writes is for its user alone
    paths = StackPaths(arguments.root)
    # The kernel releases the lock when the process ends; children do not inherit it.
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return EXIT_ALREADY_RUNNING
    if arguments.parent:
        processes.follow_parent(arguments.parent, signal.SIGTERM)
    try:
        settings = StackSettings.from_json(json.loads(paths.settings.read_bytes()))
        asyncio.run(_run(settings))
    except (MillraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _run(settings: StackSettings) -> None:
    prepare(settings, version("millrace"))
    if settings.given_kubeconfig:
        await attach.check_free(settings.given_kubeconfig, NODE, settings.root)
        await attach.apply(settings.given_kubeconfig, [*settings.crds, settings.paths.platform])
    initial = StackState(
        version=version("millrace"),
        supervisor=processes.identify(os.getpid()),
        ports=settings.to_json()["ports"],
    )
    components = components_of(settings, programs())
    supervisor = Supervisor(settings.paths, components, environment(settings, os.environ), initial)
    stop = asyncio.Event()
    await until_signalled(stop, supervisor.run(stop))


if __name__ == "__main__":
    sys.exit(main())
