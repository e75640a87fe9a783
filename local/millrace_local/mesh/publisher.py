"""Hands a mesh to Envoy, file by file, in an order that loses no request.

What routes will name is there before they name it, and goes only after they have stopped naming it: endpoints and
clusters of the old and the new configuration together, then the routes, then the new ones alone. Envoy confirms each
step, if one runs. Envoy takes all routes or none, so one that it refuses would hold up all others; it is found and
replaced by an answer that says so.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from millrace_local.mesh.admin import CLUSTERS_STAT, ROUTES_STAT, Admin, Verdict
from millrace_local.mesh.bootstrap import CLUSTERS_FILE, ROUTES_FILE
from millrace_local.mesh.clusters import Clusters, endpoints_file, overlap
from millrace_local.mesh.files import XdsFiles, cluster_files, routes_file
from millrace_local.mesh.model import Problem, VirtualHost
from millrace_local.mesh.routes import refused_host, virtual_host
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import Mesh

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Publisher:
    """Keeps the files in ``settings.xds``; nothing else writes there. ``clusters`` is what Envoy was given last."""

    def __init__(self, settings: MeshSettings, admin: Admin) -> None:
        self._files = XdsFiles(settings.xds)
        self._ingress_host = settings.ingress_host
        self._admin = admin
        self.clusters = Clusters()
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
        await self._write_clusters(overlap(self.clusters, mesh.clusters))
        problems = await self._write_routes(mesh)
        await self._write_clusters(mesh.clusters)
        self.clusters = mesh.clusters
        names = mesh.clusters.policies()
        self._files.keep_only({CLUSTERS_FILE, ROUTES_FILE, *map(endpoints_file, names)})
        self._unconfirmed &= {CLUSTERS_STAT, ROUTES_STAT, *map(_endpoints_stat, names)}
        return problems

    async def _write_clusters(self, clusters: Clusters) -> None:
        files = cluster_files(clusters, self._files.directory)
        stats = {endpoints_file(name): _endpoints_stat(name) for name in clusters.policies()}
        written = {stats.get(name, CLUSTERS_STAT): (name, resources) for name, resources in files.items()}
        if await self._write(written) is Verdict.REJECTED:
            log.error("Envoy refuses a change of clusters or endpoints; its log says which")

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
        return await self._write({ROUTES_STAT: (ROUTES_FILE, routes_file(hosts, self._ingress_host))})

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


def _endpoints_stat(cluster: str) -> str:
    return f"cluster.{cluster}"


def _refusal(host: VirtualHost) -> str:
    return f"Envoy refuses a route of {host.name}; look for a regular expression or a header that is not valid"
