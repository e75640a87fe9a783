"""``python -m millrace_services.inference fetch|serve``; both take their settings from the environment."""

from __future__ import annotations

import argparse
import os
import sys

from millrace_core.base.blocked_import import UNUSED, block_imports


def main() -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m millrace_services.inference", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="bring the model file of MILLRACE_MODEL_URI to MILLRACE_MODEL_PATH")
    commands.add_parser("serve", help="serve the model of MILLRACE_MODEL_PATH")
    # Each command imports what it needs: a fetch has no use for a web server.
    if parser.parse_args().command == "fetch":
        from millrace_services.inference import fetch  # noqa: PLC0415

        return fetch.main(os.environ)
    from millrace_services.inference import app  # noqa: PLC0415

    return app.main(os.environ)


if __name__ == "__main__":
    block_imports(*UNUSED)
    sys.exit(main())
