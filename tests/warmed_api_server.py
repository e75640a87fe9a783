"""What an API server does when it starts, done once: the schemas and libraries that it loads stay loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

from millrace_kube.times import now
from millrace_local.apiserver import serving  # noqa: F401 - all that a server loads
from millrace_local.apiserver.credentials import obtain
from millrace_local.apiserver.seeding import seed
from millrace_local.apiserver.server import ApiServer

with tempfile.TemporaryDirectory() as folder:
    _server = ApiServer(Path(folder))
    seed(_server, [Path(__file__).parents[1] / "crds"])
    obtain(Path(folder), now())
    _server.close()
