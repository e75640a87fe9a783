"""Kubernetes objects to virtual hosts, clusters and problems. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from millrace_core.base.errors import RejectError
from millrace_local.mesh import httproutes, virtualservices
from millrace_local.mesh.assignment import GATEWAY
from millrace_local.mesh.clusters import Address, Clusters, Upstream
from millrace_local.mesh.destinationrules import DestinationRules, TrafficPolicy
from millrace_local.mesh.istio import DEFAULT_RETRIES
from millrace_local.mesh.model import (
    MALFORMED,
    Backend,
    Destination,
    DirectResponse,
    MeshObjects,
    Object,
    RouteProblem,
    RouteRule,
    ServicePort,
    VirtualHost,
    age_order,
    identity,
    malformed,
)
from millrace_local.mesh.services import CLUSTER_SUFFIX, MeshService, ServiceIndex, full_host
from millrace_local.mesh.typed import require_types

HTTP_PORT = 80
# One cluster, and so one watched file, for each distinct traffic policy (see clusters.py).
MOST_POLICIES = 64

Report = Callable[[str], None]
Read = Callable[[], tuple[RouteRule, ...]]
Routed = tuple[tuple[RouteRule, ...], tuple[tuple[str, str, str], ...]]
"""Rules, and the objects they were read from."""


@dataclass(frozen=True)
class Mesh:
    """What Envoy shall do, the problems in the objects, and the addresses of all ready endpoints."""

    hosts: tuple[VirtualHost, ...] = ()
    clusters: Clusters = field(default_factory=Clusters)
    problems: tuple[RouteProblem, ...] = ()
    ready: frozenset[Address] = frozenset()


def translate(objects: MeshObjects) -> Mesh:
    """The mesh of these objects; their order does not matter."""
    return _Translator(objects).mesh()


@dataclass
class _Translator:
    objects: MeshObjects
    problems: dict[RouteProblem, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        objects = self.objects
        self.services = ServiceIndex(objects.services, objects.endpoint_slices, objects.pods)
        self.rules = DestinationRules(objects.destination_rules)
        self.delegates = {identity(item): item for item in objects.virtual_services}
        self.virtual_services = self._virtual_services_by_host()
        self.http_routes: dict[str, list[Object]] = {}
        for item in objects.http_routes:
            for host in self._named(httproutes.hosts, item, "HTTPRoute"):
                self.http_routes.setdefault(host, []).append(item)

    def mesh(self) -> Mesh:
        hosts = tuple(_without_shared_domains([*self._named_hosts(), *self._service_hosts()]))
        clusters = self._clusters(hosts)
        problems = tuple(dict.fromkeys([*self.problems, *self.rules.problems]))
        return Mesh(hosts, clusters, problems, self.services.ready())

    def _virtual_services_by_host(self) -> dict[str, Object]:
        """The VirtualService of each host: the oldest that names it."""
        found: dict[str, Object] = {}
        for item in sorted(self.objects.virtual_services, key=age_order):
            for name in self._named(virtualservices.hosts, item, "VirtualService"):
                first = found.setdefault(name, item)
                if first is not item:
                    owner = "/".join(identity(first))
                    self._reporter("VirtualService", item)(
                        f"spec.hosts: {name} already belongs to the older VirtualService {owner}, which decides"
                    )
        return found

    def _named(self, hosts: Callable[[Object], tuple[str, ...]], item: Object, kind: str) -> tuple[str, ...]:
        """The hosts that an object is for; none, and a problem, where what it has for them is no list of names."""
        try:
            return hosts(item)
        except MALFORMED as error:
            self._reporter(kind, item)(malformed(error))
            return ()

    def _named_hosts(self) -> Iterator[VirtualHost]:
        """Hosts that routes name and that are not the full name of a Service."""
        for host in sorted({*self.virtual_services, *self.http_routes}):
            if self.services.by_host(host) is not None:
                continue
            domains: tuple[str, ...] = (host,) if host.startswith("*") else (host, f"{host}:*")
            if host.endswith(CLUSTER_SUFFIX) and "*" not in host:
                name, _, namespace = host.removesuffix(CLUSTER_SUFFIX).partition(".")
                domains = _domains(MeshService(namespace, name, ()).names, "", ":*")
            rules, origins = self._routed(host, HTTP_PORT) or ((), ())
            yield VirtualHost(host, domains, rules, origins)

    def _service_hosts(self) -> Iterator[VirtualHost]:
        for service in self.services:
            default = service.default_port()
            for port in service.ports:
                suffixes = (f":{port.number}", *([""] if port == default else []))
                rules, origins = self._routed(service.host, port.number) or (_plain(service, port.number), ())
                name = f"{service.host}:{port.number}"
                yield VirtualHost(name, _domains(service.names, *suffixes), rules, origins)
            ports = ", ".join(str(port.number) for port in service.ports) or "none"
            message = f"Service {service.namespace}/{service.name} has no such port; it has {ports}"
            rule = RouteRule("no such port", direct_response=DirectResponse(404, json.dumps({"error": message})))
            yield VirtualHost(f"{service.host}:*", _domains(service.names, ":*", *_bare(default)), (rule,))

    def _routed(self, host: str, port: int) -> Routed | None:
        """The rules of the VirtualService or else the HTTPRoutes of a host; None if there are none."""
        if item := self.virtual_services.get(host):
            origin = ("VirtualService", *identity(item))
            report = self._reporter("VirtualService", item)
            resolve = self._istio_resolver(identity(item)[0], port, report)
            asks = self.services.get(GATEWAY.target.namespace, GATEWAY.target.service) is not None
            reader = virtualservices.VirtualServiceReader(item, port, resolve, self.delegates, report, asks)
            return self._checked([(item, reader.rules)], "VirtualService"), (origin,)
        if items := self.http_routes.get(host):
            readers = [
                (
                    item,
                    httproutes.HttpRouteReader(item, self._gateway_resolver(item), self._reporter("HTTPRoute", item)),
                )
                for item in sorted(items, key=age_order)
            ]
            origins = tuple(sorted(("HTTPRoute", *identity(item)) for item in items))
            return self._checked([(item, reader.rules) for item, reader in readers], "HTTPRoute"), origins
        return None

    def _checked(self, read: Iterable[tuple[Object, Read]], kind: str) -> tuple[RouteRule, ...]:
        """The rules of the objects of one host, in their order, without those of an object that is at fault: half a
        route would be a wrong route. Where that leaves none, a response with the error."""
        rules: list[RouteRule] = []
        message = ""
        for item, rules_of in read:
            try:
                found = rules_of()
                require_types(found, tuple[RouteRule, ...])
                rules += found
                continue
            except RejectError as error:
                message = str(error)
            except MALFORMED as error:
                message = malformed(error)
            self._reporter(kind, item)(message)
        if message and not rules:
            text = json.dumps({"error": f"{kind}: {message}"})
            return (RouteRule("refused", direct_response=DirectResponse(503, text)),)
        return httproutes.by_precedence(rules) if kind == "HTTPRoute" else tuple(rules)

    def _istio_resolver(self, namespace: str, request_port: int, report: Report) -> virtualservices.Resolve:
        def resolve(stated: Mapping[str, Any], at: str) -> Destination:
            host = full_host(stated.get("host", ""), namespace)
            service = self.services.by_host(host)
            number = (stated.get("port") or {}).get("number")
            if service is None:
                report(f"{at}.host: there is no Service {host}; Istio takes a short name or a full one")
                return Destination(ServicePort("", host, number or HTTP_PORT), stated.get("subset", ""))
            if number is None:
                sole = service.ports[0].number if len(service.ports) == 1 else 0
                number = sole or (request_port if service.port(request_port) else 0)
            if service.port(number) is None:
                report(f"{at}.port: Service {host} has no port {number}; it has {_numbers(service)}")
            subset = stated.get("subset", "")
            if subset and self.rules.subset_labels(service, subset) is None:
                report(f"{at}.subset: no DestinationRule for {host} has a subset {subset!r}")
            return Destination(ServicePort(service.namespace, service.name, number), subset)

        return resolve

    def _gateway_resolver(self, item: Object) -> httproutes.Resolve:
        report = self._reporter("HTTPRoute", item)

        def resolve(stated: Mapping[str, Any], at: str) -> Destination:
            namespace, name = stated.get("namespace") or identity(item)[0], stated.get("name", "")
            service = self.services.get(namespace, name)
            number = stated.get("port") or 0
            if stated.get("kind", "Service") != "Service":
                report(f"{at}.kind: the embedded mesh knows backends of kind Service only")
            elif service is None:
                report(f"{at}.name: there is no Service {namespace}/{name}")
            elif service.port(number) is None:
                report(f"{at}.port: Service {namespace}/{name} has no port {number}; it has {_numbers(service)}")
            return Destination(ServicePort(namespace, name, number))

        return resolve

    def _clusters(self, hosts: Iterable[VirtualHost]) -> Clusters:
        rules = [rule for host in hosts for rule in host.rules]
        reached = {backend.destination for rule in rules for backend in rule.backends if backend.weight}
        own = {mirror.destination for rule in rules for mirror in rule.mirrors}
        own |= {GATEWAY for rule in rules if rule.check}
        found = tuple(self._upstream(destination) for destination in sorted(reached, key=lambda d: d.key))
        return Clusters(
            tuple(self._within_limit(found)),
            tuple(self._upstream(destination) for destination in sorted(own, key=lambda d: d.key)),
        )

    def _upstream(self, destination: Destination) -> Upstream:
        target = destination.target
        service = self.services.get(target.namespace, target.service)
        if service is None:
            return Upstream(destination, TrafficPolicy(), ())
        endpoints = self.services.endpoints(target)
        if destination.subset:
            labels = self.rules.subset_labels(service, destination.subset)
            endpoints = [] if labels is None else [one for one in endpoints if one.has(labels)]
        addresses = dict.fromkeys((one.address, one.port) for one in endpoints)
        return Upstream(destination, self.rules.policy(service, destination), tuple(addresses))

    def _within_limit(self, found: Iterable[Upstream]) -> Iterator[Upstream]:
        kept = {TrafficPolicy()}
        for upstream in found:
            if len(kept) < MOST_POLICIES:
                kept.add(upstream.policy)
            if upstream.policy in kept:
                yield upstream
                continue
            target = upstream.destination.target
            message = (
                f"its traffic policy has no effect: the embedded mesh takes {MOST_POLICIES} different ones at most"
            )
            self.problems[RouteProblem("Service", target.namespace, target.service, message)] = None
            yield replace(upstream, policy=TrafficPolicy())

    def _reporter(self, kind: str, item: Object) -> Report:
        namespace, name = identity(item)

        def report(message: str) -> None:
            self.problems[RouteProblem(kind, namespace, name, message)] = None

        return report


def _plain(service: MeshService, port: int) -> tuple[RouteRule, ...]:
    """The rule of a Service without a route: all of its endpoints share the requests."""
    target = Destination(ServicePort(service.namespace, service.name, port))
    name = f"Service {service.namespace}/{service.name}"
    return (RouteRule(name, backends=(Backend(target, 100),), retries=DEFAULT_RETRIES),)


def _domains(names: Iterable[str], *suffixes: str) -> tuple[str, ...]:
    return tuple(f"{name}{suffix}" for name in names for suffix in suffixes)


def _bare(default: object) -> tuple[str, ...]:
    """An empty suffix, for names without a port, unless the Service has a default port."""
    return ("",) if default is None else ()


def _numbers(service: MeshService) -> str:
    return ", ".join(str(port.number) for port in service.ports) or "none"


def _without_shared_domains(hosts: Iterable[VirtualHost]) -> Iterator[VirtualHost]:
    """Each domain only once, since Envoy refuses duplicates; hosts of routes come before those of Services."""
    taken: set[str] = set()
    for host in hosts:
        free = tuple(domain for domain in dict.fromkeys(host.domains) if domain not in taken)
        taken.update(free)
        if free:
            yield VirtualHost(host.name, free, host.rules, host.origins)
