"""The files that must exist before Envoy's first start."""

from __future__ import annotations

import orjson

from millrace_local.mesh.bootstrap import ROUTES_FILE, bootstrap
from millrace_local.mesh.clusters import Clusters
from millrace_local.mesh.envoy import BOOTSTRAP_FILE
from millrace_local.mesh.files import XdsFiles, cluster_files, routes_file
from millrace_local.mesh.model import VirtualHost
from millrace_local.mesh.routes import refused_host
from millrace_local.mesh.settings import MeshSettings


def prepare(settings: MeshSettings) -> None:
    """Writes the bootstrap, and files without clusters: old files name the pods of an earlier run.

    Every request is answered 503 until the agent writes routes: what exists is not known yet, so 404 would be wrong.

    Raises:
        OSError: the folder cannot be written.
    """
    settings.xds.mkdir(parents=True, exist_ok=True)
    for path in settings.xds.iterdir():
        path.unlink()
    (settings.directory / BOOTSTRAP_FILE).write_bytes(orjson.dumps(bootstrap(settings)))
    files = XdsFiles(settings.xds)
    for name, resources in cluster_files(Clusters(), settings.xds).items():
        files.write(name, resources)
    unknown = refused_host(VirtualHost("unknown", ("*",), ()), "the mesh has no routes yet; try again in a second")
    files.write(ROUTES_FILE, routes_file({unknown["name"]: unknown}, settings))
