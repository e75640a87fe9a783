"""``python -m millrace_local.stack ROOT``: the supervisor of the stack in ROOT, as its ``stack.json`` says.

Started by ``LocalStack``, which has checked ports and written that file.
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

from millrace_core.base.errors import MillraceError
from millrace_local.node.registration import holder
from millrace_local.stack import attach, processes
from millrace_local.stack.launch import environment, programs
from millrace_local.stack.plan import NODE, plan
from millrace_local.stack.prepare import prepare
from millrace_local.stack.settings import Layout, StackSettings
from millrace_local.stack.stack import ALREADY_RUNNING
from millrace_local.stack.state import State
from millrace_local.stack.supervisor import Supervisor, until_signalled


def main() -> int:
    """Runs until SIGTERM or SIGINT. Exit code 3: another supervisor has the folder."""
    parser = argparse.ArgumentParser(prog="python -m millrace_local.stack", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument(
        "--parent", type=int, default=0, help="end when the process with this id, which started this, ends"
    )
    arguments = parser.parse_args()
    layout = Layout(arguments.root)
    # Held until the process ends, however it ends; not inherited by what it starts.
    lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ALREADY_RUNNING
    if arguments.parent:
        processes.follow_parent(arguments.parent, signal.SIGTERM)
    try:
        settings = StackSettings.from_json(json.loads(layout.settings.read_bytes()))
        asyncio.run(_run(settings))
    except (MillraceError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


async def _run(settings: StackSettings) -> None:
    prepare(settings, version("millrace"))
    if settings.given_kubeconfig:
        await attach.check_free(settings.given_kubeconfig, NODE, holder(settings.root))
        await attach.apply(settings.given_kubeconfig, [*settings.crds, settings.layout.platform])
    initial = State(
        version=version("millrace"),
        supervisor=processes.identify(os.getpid()),
        ports=settings.to_json()["ports"],
    )
    components = plan(settings, programs())
    supervisor = Supervisor(settings.layout, components, environment(settings, os.environ), initial)
    stop = asyncio.Event()
    await until_signalled(stop, supervisor.run(stop))


if __name__ == "__main__":
    sys.exit(main())
