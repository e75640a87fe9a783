"""``python -m millrace.local.demo``: brings the embedded mode up where it is not, and runs the demo on it."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from millrace.base.errors import MillraceError
from millrace.local.demo.run import run
from millrace.local.stack import LocalStack

ROOT = Path(".millrace")
UP_SECONDS = 60.0


def main() -> int:
    """Exit code: 0 every figure holds, 1 one does not, 2 a step failed."""
    console = Console(soft_wrap=True)
    stack = LocalStack(ROOT)
    try:
        console.print("[bold]0. The platform[/]: API server, controllers, node, mesh, store, operators, services")
        stack.up(UP_SECONDS)
        return 0 if run(stack, console) else 1
    except MillraceError as error:
        console.print(f"[red]The demo stopped[/]: {error}", highlight=False)
        return 2


if __name__ == "__main__":
    sys.exit(main())
