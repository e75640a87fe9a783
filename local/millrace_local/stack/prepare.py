"""The files that components read when they start."""

from __future__ import annotations

import json
import resource
from datetime import UTC, datetime

from millrace_local.apiserver import credentials
from millrace_local.apiserver.kubeconfig import write_kubeconfig
from millrace_local.atomic_file import write_atomically
from millrace_local.mesh import initial
from millrace_local.mesh.settings import MeshSettings, connections_within
from millrace_local.stack import platform
from millrace_local.stack.settings import HOST, StackSettings


def prepare(settings: StackSettings, version: str) -> None:
    """Writes the files that components of this version of Millrace read when they start.

    Raises:
        OSError: the folder cannot be written.
    """
    paths = settings.paths
    for folder in (paths.api, paths.store, paths.mesh, paths.platform, paths.registry, paths.lake, paths.logs):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        paths.store_settings, f"requirepass {settings.store_password}\n" if settings.store_password else ""
    )
    objects = platform.objects(
        settings.components,
        version=version,
        store_url=settings.redis_url,
        registry_folder=paths.registry,
        lake=paths.lake,
    )
    documents = "".join(f"---\n{json.dumps(item)}\n" for item in objects)
    write_atomically(paths.platform / "platform.yaml", documents)
    if settings.given_kubeconfig is None:
        # The API server writes the same file once it listens; components that start beside it read it earlier.
        write_kubeconfig(paths.kubeconfig, settings.api_url, credentials.obtain(paths.api, datetime.now(UTC)))
    # Envoy is started by this process, and has its limit.
    connections = connections_within(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    mesh = MeshSettings(paths.mesh, HOST, settings.ports.ingress, settings.mesh_secret, connections=connections)
    initial.prepare(mesh)
