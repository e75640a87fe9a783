"""Writes the mesh for Envoy, file by file, in an order that loses no request.

A cluster exists before a route names it, and goes after no route names it any more: first the clusters and endpoints of
the old and the new configuration together, then the routes, then the new clusters alone. Envoy confirms each step, if
it runs. Envoy accepts all routes or none, so the publisher finds a refused virtual host by halves and replaces it by
one that responds with the reason.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from millrace_local.mesh.admin import CLUSTERS_STAT, ROUTES_STAT, Acknowledgement, EnvoyAdmin
from millrace_local.mesh.bootstrap import CLUSTERS_FILE, ROUTES_FILE
from millrace_local.mesh.clusters import Clusters, endpoints_file, overlap
from millrace_local.mesh.files import XdsFiles, cluster_files, routes_file
from millrace_local.mesh.model import RouteProblem, VirtualHost
from millrace_local.mesh.routes import refused_host, virtual_host
from millrace_local.mesh.settings import MeshSettings
from millrace_local.mesh.translate import Mesh

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Publisher:
    """Writes the files in ``settings.xds``; nothing else writes there. ``clusters`` is what Envoy was given last."""

    def __init__(self, settings: MeshSettings, admin: EnvoyAdmin) -> None:
        self._files = XdsFiles(settings.xds)
        self._settings = settings
        self._admin = admin
        self.clusters = Clusters()
        self._accepted: dict[str, Json] = {}
        self._refused: dict[str, Json] = {}
        self._unconfirmed: set[str] = set()

    @property
    def confirmed(self) -> bool:
        """Whether Envoy has accepted or rejected all that was written."""
        return not self._unconfirmed

    async def publish(self, mesh: Mesh) -> tuple[RouteProblem, ...]:
        """Makes Envoy do what ``mesh`` says; returns what Envoy refused.

        Publishing the same mesh again writes nothing; it waits again for what Envoy has not confirmed.

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
        if await self._write(written) is Acknowledgement.REJECTED:
            log.error("Envoy refuses a change of clusters or endpoints; its log says which")

    async def _write_routes(self, mesh: Mesh) -> tuple[RouteProblem, ...]:
        names = mesh.clusters.names()
        hosts = {host.name: host for host in mesh.hosts}
        wanted = {name: virtual_host(host, names.__getitem__) for name, host in hosts.items()}
        self._refused = {name: host for name, host in self._refused.items() if wanted.get(name) == host}
        fresh = [name for name in wanted if name not in self._refused and self._accepted.get(name) != wanted[name]]
        settled = {name: wanted[name] for name in wanted if name not in self._refused and name not in fresh}
        settled |= {name: refused_host(hosts[name], _refusal(hosts[name])) for name in self._refused}
        await self._find_refused(settled, fresh, wanted, hosts)
        self._accepted = settled
        return tuple(
            RouteProblem(*origin, _refusal(hosts[name])) for name in self._refused for origin in hosts[name].origins
        )

    async def _find_refused(
        self, settled: dict[str, Json], fresh: list[str], wanted: Mapping[str, Json], hosts: Mapping[str, VirtualHost]
    ) -> None:
        """Adds to ``settled`` the hosts of ``fresh`` that Envoy accepts, and substitutes for those that it refuses."""
        if await self._write_hosts(settled | {name: wanted[name] for name in fresh}) is not Acknowledgement.REJECTED:
            settled.update({name: wanted[name] for name in fresh})
        elif len(fresh) > 1:
            half = len(fresh) // 2
            await self._find_refused(settled, fresh[:half], wanted, hosts)
            await self._find_refused(settled, fresh[half:], wanted, hosts)
        elif fresh:
            name = fresh[0]
            self._refused[name] = wanted[name]
            substitute = refused_host(hosts[name], _refusal(hosts[name]))
            if await self._write_hosts(settled | {name: substitute}) is not Acknowledgement.REJECTED:
                settled[name] = substitute
            else:  # even its domains are refused
                await self._write_hosts(settled)

    async def _write_hosts(self, hosts: Mapping[str, Json]) -> Acknowledgement:
        return await self._write({ROUTES_STAT: (ROUTES_FILE, routes_file(hosts, self._settings))})

    async def _write(self, files: Mapping[str, tuple[str, list[Json]]]) -> Acknowledgement:
        """Writes the files that changed, and waits for Envoy to accept or reject them."""
        pending = {stat: item for stat, item in files.items() if self._files.differ(*item)}
        self._unconfirmed |= pending.keys()
        awaited = self._unconfirmed & files.keys()
        before = await self._admin.rejections(pending)
        for name, resources in pending.values():
            self._files.write(name, resources)
        acknowledgement = await self._admin.acknowledgement(
            {stat: self._files.version(files[stat][0]) for stat in awaited}, before
        )
        if acknowledgement is not Acknowledgement.UNKNOWN:
            self._unconfirmed -= awaited
        return acknowledgement


def _endpoints_stat(cluster: str) -> str:
    return f"cluster.{cluster}"


def _refusal(host: VirtualHost) -> str:
    return f"Envoy refuses a route of {host.name}; look for a regular expression or a header that is not valid"
