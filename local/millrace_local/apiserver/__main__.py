"""``python -m millrace_local.apiserver``: the embedded Kubernetes API server as a process."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from millrace_core.base.errors import MillraceError
from millrace_local.apiserver.listening import listen


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m millrace_local.apiserver", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the journal and of apiserver.json")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="where to write the kubeconfig")
    parser.add_argument(
        "--crds", type=Path, action="append", default=[], help="YAML file or folder of objects to start with"
    )
    parser.add_argument(
        "--pods", type=Path, help="folder in which the node of this machine keeps its pods, for their logs"
    )
    parser.add_argument("--faults", action="store_true", help="serve /faults, for tests")
    parser.add_argument("--die-with-parent", action="store_true", help="end when the starting process ends (Linux)")
    return parser.parse_args()


def main() -> int:
    """Runs the server until SIGTERM or SIGINT; 2 is the exit code of a mistake in the arguments."""
    arguments = _arguments()
    os.umask(0o077)  # what it writes is for its user alone
    try:
        listener = listen(arguments.port)
        # Imported only now: the server's modules take most of the start, in which its clients wait already.
        from millrace_local.apiserver.serving import serve  # noqa: PLC0415

        serve(
            arguments.data,
            listener,
            kubeconfig=arguments.kubeconfig,
            crds=arguments.crds,
            pods=arguments.pods,
            faults=arguments.faults,
            die_with_parent=arguments.die_with_parent,
        )
    except MillraceError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
