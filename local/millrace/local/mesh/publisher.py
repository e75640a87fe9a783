"""Hands a mesh to Envoy, file by file, in an order that loses no request.

What routes will name is there before they name it, and goes only after they have stopped naming it: endpoints and
clusters of the old and the new configuration together, then the routes, then the new ones alone. Envoy confirms each
step, if one runs. Envoy takes all routes or none, so one that it refuses would hold up all others; it is found and
replaced by an answer that says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from millrace.local.mesh.admin import CLUSTERS_STAT, ROUTES_STAT, Admin, Verdict
from millrace.local.mesh.bootstrap import CLUSTERS_FILE, ROUTES_FILE, ROUTES_NAME
from millrace.local.mesh.clusters import (
    Clusters,
    cluster_resources,
    endpoint_resources,
    endpoints_file,
    overlap,
)
from millrace.local.mesh.model import Problem, VirtualHost
from millrace.local.mesh.routes import TYPE, refused_host, virtual_host
from millrace.local.mesh.settings import MeshSettings
from millrace.local.mesh.translate import Mesh

Json = dict[str, Any]


class Publisher:
    """Keeps the files in ``settings.xds``; nothing else writes there."""

    def __init__(self, settings: MeshSettings, admin: Admin) -> None:
        self._files = XdsFiles(settings.xds)
        self._admin = admin
        self._clusters = Clusters()
        self._accepted: dict[str, Json] = {}
        self._refused: dict[str, Json] = {}
        self._unconfirmed: set[str] = set()

    @property
    def confirmed(self) -> bool:
        """Whether Envoy has taken all that was written."""
        return not self._unconfirmed

    async def publish(self, mesh: Mesh) -> tuple[Problem, ...]:
        """Makes Envoy do what ``mesh`` says, and returns what Envoy refused of it.

        Publishing the same mesh again writes nothing; it asks Envoy again if it had not confirmed yet.

        Raises:
            OSError: a file cannot be written.
        """
        await self._write_clusters(overlap(self._clusters, mesh.clusters))
        problems = await self._write_routes(mesh)
        await self._write_clusters(mesh.clusters)
        self._clusters = mesh.clusters
        names = mesh.clusters.policies()
        self._files.keep_only({CLUSTERS_FILE, ROUTES_FILE, *map(endpoints_file, names)})
        self._unconfirmed &= {CLUSTERS_STAT, ROUTES_STAT, *map(_endpoints_stat, names)}
        return problems

    def write_empty(self) -> None:
        """Writes the files of a mesh without hosts, before any Envoy runs.

        Raises:
            OSError: a file cannot be written.
        """
        for name, resources in self._cluster_files(Clusters()).values():
            self._files.write(name, resources)
        self._files.write(ROUTES_FILE, _routes({}))

    async def _write_clusters(self, clusters: Clusters) -> None:
        await self._write(self._cluster_files(clusters))

    def _cluster_files(self, clusters: Clusters) -> dict[str, tuple[str, list[Json]]]:
        files = {
            _endpoints_stat(name): (endpoints_file(name), resources)
            for name, resources in endpoint_resources(clusters).items()
        }
        # Endpoints first: a new cluster reads its file as soon as it is known.
        files[CLUSTERS_STAT] = (CLUSTERS_FILE, cluster_resources(clusters, self._files.directory))
        return files

    async def _write_routes(self, mesh: Mesh) -> tuple[Problem, ...]:
        names = mesh.clusters.names()
        hosts = {host.name: host for host in mesh.hosts}
        wanted = {name: virtual_host(host, names.__getitem__) for name, host in hosts.items()}
        self._refused = {name: host for name, host in self._refused.items() if wanted.get(name) == host}
        fresh = [name for name in wanted if name not in self._refused and self._accepted.get(name) != wanted[name]]
        settled = {name: wanted[name] for name in wanted if name not in self._refused and name not in fresh}
        settled |= {name: refused_host(hosts[name], _refusal(hosts[name])) for name in self._refused}
        await self._sort_out(settled, fresh, wanted, hosts)
        self._accepted = settled
        return tuple(
            Problem(*origin, _refusal(hosts[name])) for name in self._refused for origin in hosts[name].origins
        )

    async def _sort_out(
        self, settled: dict[str, Json], fresh: list[str], wanted: Mapping[str, Json], hosts: Mapping[str, VirtualHost]
    ) -> None:
        """Adds to ``settled`` what Envoy accepts of ``fresh``, and an answer in place of what it does not."""
        if await self._offer(settled | {name: wanted[name] for name in fresh}) is not Verdict.REJECTED:
            settled.update({name: wanted[name] for name in fresh})
        elif len(fresh) > 1:
            half = len(fresh) // 2
            await self._sort_out(settled, fresh[:half], wanted, hosts)
            await self._sort_out(settled, fresh[half:], wanted, hosts)
        elif fresh:
            name = fresh[0]
            self._refused[name] = wanted[name]
            substitute = refused_host(hosts[name], _refusal(hosts[name]))
            if await self._offer(settled | {name: substitute}) is not Verdict.REJECTED:
                settled[name] = substitute
            else:  # even its domains are refused
                await self._offer(settled)

    async def _offer(self, hosts: Mapping[str, Json]) -> Verdict:
        return await self._write({ROUTES_STAT: (ROUTES_FILE, _routes(hosts))})

    async def _write(self, files: Mapping[str, tuple[str, list[Json]]]) -> Verdict:
        """Writes those that differ from what is there, and waits for Envoy to take them."""
        pending = {stat: item for stat, item in files.items() if self._files.differ(*item)}
        self._unconfirmed |= pending.keys()
        asked = self._unconfirmed & files.keys()
        before = await self._admin.rejections(pending)
        for name, resources in pending.values():
            self._files.write(name, resources)
        verdict = await self._admin.verdict({stat: self._files.version(files[stat][0]) for stat in asked}, before)
        if verdict is not Verdict.UNKNOWN:
            self._unconfirmed -= asked
        return verdict


class XdsFiles:
    """Files of Envoy resources in one directory, each replaced as a whole by renaming."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # Envoy looks at every file that moves in a folder it watches, so unfinished ones stand elsewhere.
        self._unfinished = directory.with_name("unfinished")
        self._contents: dict[str, tuple[str, bytes]] = {}
        for folder in (directory, self._unfinished):
            folder.mkdir(parents=True, exist_ok=True)

    def differ(self, name: str, resources: list[Json]) -> bool:
        """Whether the file does not hold these resources."""
        return self._contents.get(name, ("", b""))[1] != orjson.dumps(resources)

    def write(self, name: str, resources: list[Json]) -> None:
        """Replaces the file."""
        content = orjson.dumps(resources)
        version = hashlib.sha256(content).hexdigest()[:16]
        unfinished = self._unfinished / name
        unfinished.write_bytes(b'{"version_info":"%s","resources":%s}' % (version.encode(), content))
        unfinished.replace(self.directory / name)
        self._contents[name] = (version, content)

    def version(self, name: str) -> str:
        """The version of what the file holds."""
        return self._contents[name][0]

    def keep_only(self, names: Iterable[str]) -> None:
        """Removes every other file."""
        kept = set(names)
        for path in self.directory.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
                self._contents.pop(path.name, None)


def _routes(hosts: Mapping[str, Json]) -> list[Json]:
    configuration = {
        "@type": f"{TYPE}.config.route.v3.RouteConfiguration",
        "name": ROUTES_NAME,
        "virtual_hosts": [hosts[name] for name in sorted(hosts)],
        # A route that names a cluster Envoy has refused shall not take the others down with it.
        "validate_clusters": False,
    }
    return [configuration]


def _endpoints_stat(cluster: str) -> str:
    return f"cluster.{cluster}"


def _refusal(host: VirtualHost) -> str:
    return f"Envoy refuses a route of {host.name}; look for a regular expression or a header that is not valid"
