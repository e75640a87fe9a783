"""``python -m millrace_local.agent``: runs controllers, node and mesh against an API server until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from millrace_core.base.errors import MillraceError
from millrace_kube.client import Client
from millrace_kube.connection import load
from millrace_kube.informer import Informers
from millrace_kube.stopping import until
from millrace_local.agent.settings import AgentSettings, parse
from millrace_local.controllers.run import ControllerSettings
from millrace_local.controllers.run import run as run_controllers
from millrace_local.mesh.run import run as run_mesh
from millrace_local.mesh.settings import MeshSettings
from millrace_local.node.run import run as run_node
from millrace_local.node.settings import NodeSettings

NAME = "millrace-agent"
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def run(settings: AgentSettings) -> None:
    """Runs the parts that the settings name. The first that fails ends all, and the supervisor restarts the agent."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    connection = load(settings.kubeconfig)
    async with Client(connection, user_agent=NAME, field_manager=NAME) as client, asyncio.TaskGroup() as tasks:
        informers = Informers(client)
        if settings.only & {"controllers", "mesh"}:
            tasks.create_task(until(stop, informers.run()))
        if "node" in settings.only:
            node = NodeSettings(
                name=settings.node,
                root=settings.root,
                proxy=settings.proxy,
                run_images=settings.run_images,
                pod_cidr=settings.pod_cidr,
                overcommit=settings.overcommit,
                mesh_secret=settings.mesh_secret,
            )
            tasks.create_task(run_node(client, node, stop))
        if "controllers" in settings.only:
            controllers = ControllerSettings(prometheus=settings.prometheus, proxy=settings.proxy)
            tasks.create_task(run_controllers(client, controllers, stop, informers=informers))
        if "mesh" in settings.only and settings.proxy:
            address = urlsplit(settings.proxy)
            mesh = MeshSettings(
                directory=settings.root / "mesh",
                ingress_host=address.hostname or "127.0.0.1",
                ingress_port=address.port or _DEFAULT_PORTS[address.scheme],
                secret=settings.mesh_secret,
            )
            tasks.create_task(run_mesh(client, mesh, stop, informers=informers))


def main() -> int:
    """Exit code 2: a mistake in the arguments or the kubeconfig."""
    os.umask(0o077)  # what it and its pods write is for its user alone
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code = 0
    try:
        settings = parse(sys.argv[1:], os.environ)
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(run(settings))
    except* MillraceError as group:
        code = 2
        for error in _leaves(group):
            sys.stderr.write(f"{error}\n")
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


if __name__ == "__main__":
    sys.exit(main())
