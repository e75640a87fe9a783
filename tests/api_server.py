"""The embedded API server, as a process that is forked from one that has loaded it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from millrace_local.apiserver import process
from millrace_local.apiserver.process import RunningServer
from tests import warm_process


def start(data: Path, **options: Any) -> RunningServer:
    """As ``millrace_local.apiserver.process.start``."""
    return process.start(data, run=_run, **options)


def _run(arguments: Sequence[str], log: Path) -> process.Process:
    return warm_process.start(arguments, os.environ, log.parent, log)
