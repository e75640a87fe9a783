"""``python -m benchmarks [name …]``: runs each benchmark in a process of its own, one after another.

A benchmark is a module here with a ``main`` that prints its figures, each beside its limit. Nothing else runs at the
same time; ratios to a peer or a limit are taken in one run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
# Modules that are no benchmarks: what they share, and the peers that they measure.
SHARED = (
    *("__", "figures", "http_load", "inference_models", "registry_stub"),
    *("feast_", "handwritten_", "mlserver_", "kserve_", "serving_", "clients_", "mlflow_"),
)


def names() -> list[str]:
    """The names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith(SHARED))


def main(wanted: list[str]) -> int:
    """Runs the named benchmarks, or all; returns 1 if any failed."""
    unknown = set(wanted) - set(names())
    if unknown:
        print(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(names())}")
        return 2
    failed = 0
    for name in wanted or names():
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
