"""Folders that are dear to make: made once for all processes of a run of the tests, each of which copies them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

# What the processes of the run share; conftest.py says where it is.
_shared: list[Path] = []


def keep_in(factory: pytest.TempPathFactory) -> None:
    """From now on they lie beside the temporary folders of the run, and go with these."""
    base = factory.getbasetemp()
    _shared[:] = [base.parent if "PYTEST_XDIST_WORKER" in os.environ else base]


def copy(name: str, make: Callable[[Path], None], target: Path) -> None:
    """Writes what ``make`` makes in an empty folder to ``target``, which there is not yet, with its owners."""
    subprocess.run(["cp", "-a", _made(name, make), target], check=True)


def _made(name: str, make: Callable[[Path], None]) -> Path:
    [shared] = _shared
    folder = shared / f"made-{name}"
    with (shared / f"made-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            # Not in the folder of the run, which nobody but its owner may look into.
            work = Path(tempfile.mkdtemp(prefix=f"{name}-"))
            try:
                make(work)
                shutil.move(work, folder)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return folder
