"""The files that Envoy reads, and how they are replaced."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from millrace_local.mesh import callers, egress
from millrace_local.mesh.bootstrap import CLUSTERS_FILE, ROUTES_NAME
from millrace_local.mesh.clusters import Clusters, cluster_resources, endpoint_resources, endpoints_file
from millrace_local.mesh.routes import TYPE
from millrace_local.mesh.settings import MeshSettings

Json = dict[str, Any]


def cluster_files(clusters: Clusters, directory: Path) -> dict[str, list[Json]]:
    """The files of clusters and endpoints by name, endpoints first: a new cluster reads its file at once."""
    files = {endpoints_file(name): resources for name, resources in endpoint_resources(clusters).items()}
    files[CLUSTERS_FILE] = cluster_resources(clusters, directory)
    return files


def routes_file(hosts: Mapping[str, Json], settings: MeshSettings) -> list[Json]:
    """The content of the routes file; any host that is not among ``hosts`` is outside the cluster."""
    named = [callers.marked(hosts[name], settings.secret) for name in sorted(hosts)]
    if not any("*" in host["domains"] for host in named):
        named.append(egress.virtual_host(settings.ingress_host))
    configuration = {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "virtual_hosts": named,
        # Otherwise one route to a cluster that Envoy refused would make it refuse all routes.
        "validate_clusters": False,
    }
    return [configuration]


class XdsFiles:
    """Files of Envoy resources in one directory. Each is replaced by renaming."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Envoy reads again at every move in a watched folder, so unfinished files are kept in another one.
        self._unfinished = directory.with_name("unfinished")
        self._contents: dict[str, tuple[str, bytes]] = {}
        for folder in (directory, self._unfinished):
            folder.mkdir(parents=True, exist_ok=True)

    def differ(self, name: str, resources: list[Json]) -> bool:
        """Whether the file has other resources."""
        return self._contents.get(name, ("", b""))[1] != orjson.dumps(resources)

    def write(self, name: str, resources: list[Json]) -> None:
        content = orjson.dumps(resources)
        version = hashlib.sha256(content).hexdigest()[:16]
        unfinished = self._unfinished / name
        unfinished.write_bytes(b'{"version_info":"%s","resources":%s}' % (version.encode(), content))
        unfinished.replace(self.directory / name)
        self._contents[name] = (version, content)

    def version(self, name: str) -> str:
        """The ``version_info`` in the file."""
        return self._contents[name][0]

    def keep_only(self, names: Iterable[str]) -> None:
        """Removes every other file."""
        kept = set(names)
        for path in self.directory.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
                self._contents.pop(path.name, None)
