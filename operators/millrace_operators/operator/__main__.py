"""``python -m millrace_operators.operator``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from millrace_core.base.errors import MillraceError
from millrace_operators.operator.process import run
from millrace_operators.operator.settings import OperatorSettings

# What the operator runs of ours.
_OWN = ("millrace_core", "millrace_kube", "millrace_operators")


def main() -> int:
    """Runs the operator until SIGTERM or SIGINT. Exit code 0: asked to stop; 1: a fault; 2: wrong settings."""
    try:
        settings = OperatorSettings.load(os.environ)
        logging.basicConfig(
            level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        for package in _OWN:
            logging.getLogger(package).setLevel(settings.log_level)
        return asyncio.run(run(settings, os.environ))
    except MillraceError as error:
        sys.stderr.write(f"millrace operator: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
