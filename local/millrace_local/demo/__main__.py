"""``python -m millrace_local.demo``: starts the embedded mode if it does not run, and runs the demo on it."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from millrace_core.base.errors import MillraceError, RejectError, ReportError
from millrace_local.demo.run import run
from millrace_local.stack import LocalStack

ROOT = Path(".millrace")
UP_SECONDS = 60.0
# What the demo alone uses; it trains with them once the platform is up.
LIBRARIES = ("sklearn", "skl2onnx")


def main() -> int:
    """Exit code 0: every figure holds; 1: one does not; 2: a step failed."""
    argparse.ArgumentParser(prog="python -m millrace_local.demo", description=__doc__).parse_args()
    console = Console(soft_wrap=True)
    try:
        _check_libraries()
        console.print("[bold]0. The platform[/]: API server, controllers, node, mesh, store, operators, services")
        return 0 if run(_up(console), console) else 1
    except MillraceError as error:
        console.print(f"[red]The demo stopped[/]: {escape(str(error))}", highlight=False)
        return 2


def _check_libraries() -> None:
    for name in LIBRARIES:
        if find_spec(name) is None:
            raise ReportError(
                f"it needs {name}, which is not installed",
                hint="Install it with: pip install 'millrace-local[demo]'",
                reason="LibraryMissing",
            )


def _up(console: Console) -> LocalStack:
    """The platform on its usual ports, or on free ones where those are taken."""
    stack = LocalStack(ROOT)
    try:
        stack.up(UP_SECONDS)
    except RejectError as error:
        if error.reason != "PortInUse":
            raise
        console.print(f"{escape(error.message)}; taking free ports instead", highlight=False)
        stack = LocalStack(ROOT, ports="random")
        stack.up(UP_SECONDS)
    return stack


if __name__ == "__main__":
    sys.exit(main())
