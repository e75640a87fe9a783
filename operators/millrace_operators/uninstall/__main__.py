"""``python -m millrace_operators.uninstall``: what the chart runs before it is uninstalled."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

from millrace_core.base.errors import MillraceError
from millrace_kube.client import Client
from millrace_kube.connection import connect
from millrace_operators.uninstall.release import Uninstall
from millrace_operators.uninstall.settings import UninstallSettings


async def run(settings: UninstallSettings, environ: Mapping[str, str]) -> None:
    """Releases what the operator holds."""
    async with Client(await connect(environ), user_agent="millrace-uninstall") as client:
        uninstall = Uninstall(
            client,
            settings.namespace,
            settings.namespaces,
            patience=settings.patience,
            say=lambda line: sys.stdout.write(f"{line}\n"),
        )
        await uninstall.run(delete_objects=settings.delete_objects)


def main() -> int:
    """Exit code 0: everything is released; 1: the API server refused something; 2: wrong settings."""
    try:
        settings = UninstallSettings.load(os.environ)
    except MillraceError as error:
        sys.stderr.write(f"millrace uninstall: {error}\n")
        return 2
    try:
        asyncio.run(run(settings, os.environ))
    except MillraceError as error:
        sys.stderr.write(f"millrace uninstall: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
