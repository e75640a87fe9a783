"""``python -m millrace.operator``."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from millrace.base.errors import MillraceError
from millrace.operator.process import run
from millrace.operator.settings import OperatorSettings


def main() -> int:
    """Runs the operator until SIGTERM or SIGINT. Exit code 0: asked to stop; 1: a fault; 2: wrong settings."""
    try:
        settings = OperatorSettings.load(os.environ)
        logging.basicConfig(
            level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        logging.getLogger("millrace").setLevel(settings.log_level)
        return asyncio.run(run(settings, os.environ))
    except MillraceError as error:
        sys.stderr.write(f"millrace operator: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
