"""``python -m millrace_local.demo``: starts the embedded mode if it does not run, and runs the demo on it."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from millrace_core.base.errors import MillraceError, RejectError
from millrace_local.demo.run import run
from millrace_local.stack import LocalStack

ROOT = Path(".millrace")
UP_SECONDS = 60.0


def main() -> int:
    """Exit code 0: every figure holds; 1: one does not; 2: a step failed."""
    console = Console(soft_wrap=True)
    try:
        console.print("[bold]0. The platform[/]: API server, controllers, node, mesh, store, operators, services")
        return 0 if run(_up(console), console) else 1
    except MillraceError as error:
        console.print(f"[red]The demo stopped[/]: {error}", highlight=False)
        return 2


def _up(console: Console) -> LocalStack:
    """The platform on its usual ports, or on free ones where those are taken."""
    stack = LocalStack(ROOT)
    try:
        stack.up(UP_SECONDS)
    except RejectError as error:
        if error.reason != "PortInUse":
            raise
        console.print(f"{error.message}; taking free ports instead", highlight=False)
        stack = LocalStack(ROOT, ports="random")
        stack.up(UP_SECONDS)
    return stack


if __name__ == "__main__":
    sys.exit(main())
