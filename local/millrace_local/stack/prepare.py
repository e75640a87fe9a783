"""What components read when they start, written by the supervisor before them."""

from __future__ import annotations

import json

from millrace_local.apiserver.kubeconfig import write_kubeconfig
from millrace_local.mesh import initial
from millrace_local.mesh.settings import MeshSettings
from millrace_local.stack import platform
from millrace_local.stack.settings import HOST, StackSettings


def prepare(settings: StackSettings, version: str) -> None:
    """Writes what the components of this version of Millrace read when they start.

    Raises:
        OSError: the folder cannot be written.
    """
    layout = settings.layout
    for folder in (layout.api, layout.store, layout.mesh, layout.platform, layout.registry, layout.logs):
        folder.mkdir(parents=True, exist_ok=True)
    objects = platform.objects(
        settings.components, version=version, store_url=settings.redis_url, registry_folder=layout.registry
    )
    documents = "".join(f"---\n{json.dumps(item)}\n" for item in objects)
    (layout.platform / "platform.yaml").write_text(documents)
    if settings.given_kubeconfig is None:
        # The API server writes the same once it listens; what starts beside it can read it now.
        write_kubeconfig(layout.kubeconfig, settings.api_url)
    initial.prepare(MeshSettings(layout.mesh, HOST, settings.ports.ingress))
