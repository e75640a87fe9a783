"""The files that Envoy needs before its first start."""

from __future__ import annotations

import orjson

from millrace.local.mesh.bootstrap import ROUTES_FILE, bootstrap
from millrace.local.mesh.clusters import Clusters
from millrace.local.mesh.envoy import BOOTSTRAP_FILE
from millrace.local.mesh.files import XdsFiles, cluster_files, routes_file
from millrace.local.mesh.settings import MeshSettings


def prepare(settings: MeshSettings) -> None:
    """Writes the bootstrap, and files that route nothing: what stood there names pods of an earlier time.

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
    files.write(ROUTES_FILE, routes_file({}, settings.ingress_host))
