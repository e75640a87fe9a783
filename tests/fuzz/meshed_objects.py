"""Routes, Services and endpoints as people write them, translated for Envoy: one that is odd harms itself alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import orjson

from millrace_kube.resources import Object, Resource
from millrace_kube.store import Store
from millrace_local.mesh.clusters import cluster_resources, endpoint_resources
from millrace_local.mesh.routes import virtual_host
from millrace_local.mesh.run import RESOURCES, mesh_objects
from millrace_local.mesh.translate import Mesh, translate
from tests.fuzz.in_process import InProcess
from tests.fuzz.in_process_cluster import EXPECTED, HEADERS, api_server, document_of, sent
from tests.local.mesh import objects as o

_BY_KIND: Final = {resource.kind: resource for resource in RESOURCES}
_DESTINATION: Final = o.destination("rec", "v1", 80, headers={"request": {"set": {"x-arm": "v1"}, "remove": ["a"]}})
_HTTP: Final = [
    {
        "name": "first",
        "match": [
            {
                "uri": {"prefix": "/a"},
                "headers": {"x-user": {"exact": "1"}, "x-re": {"regex": "a.*"}},
                "withoutHeaders": {"x-no": {}},
                "queryParams": {"q": {"exact": "1"}},
                "method": {"exact": "GET"},
                "ignoreUriCase": True,
                "sourceLabels": {"app": "a"},
                "port": 80,
            }
        ],
        "route": [_DESTINATION, o.destination("rec", "v2", 20)],
        "timeout": "1.5s",
        "retries": {"attempts": 2, "perTryTimeout": "1s", "retryOn": "5xx,503,reset"},
        "mirror": {"host": "shadow", "port": {"number": 80}},
        "mirrorPercentage": {"value": 10.5},
        "rewrite": {"uriRegexRewrite": {"match": "^/a/(.*)$", "rewrite": r"/\1"}, "authority": "x"},
        "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 1}}, "abort": {"httpStatus": 500}},
        "headers": {"response": {"add": {"x": "y"}}},
        "corsPolicy": {"allowOrigins": [{"exact": "*"}]},
    },
    {"match": [{"uri": {"regex": "/b/[0-9]+"}}], "redirect": {"uri": "/c", "authority": "h", "redirectCode": 308}},
    {"directResponse": {"status": 503, "body": {"string": "no"}}},
    {"delegate": {"name": "other", "namespace": "default"}},
]
_POLICY: Final = {
    "connectionPool": {"tcp": {"maxConnections": 10, "connectTimeout": "1s"}, "http": {"http1MaxPendingRequests": 5}},
    "outlierDetection": {"consecutive5xxErrors": 5, "interval": "1s", "baseEjectionTime": "3m", "maxEjectionPercent": 50},
    "loadBalancer": {"simple": "ROUND_ROBIN"},
}  # fmt: skip
_GATEWAY: Final = [
    {
        "matches": [{"path": {"type": "PathPrefix", "value": "/a"}, "headers": [{"name": "x", "value": "1"}], "method": "GET"}],
        "filters": [
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}},
            {"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}},
            {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "shadow", "port": 80}}},
        ],
        "backendRefs": [{"name": "rec", "port": 80, "weight": 9}, {"name": "two", "port": 80}],
        "timeouts": {"request": "10s", "backendRequest": "2s"},
    },
    {"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 301}}]},
]  # fmt: skip


def _whole(kind: str, document: Object) -> dict[str, Any]:
    metadata = {**document["metadata"], "name": f"odd-{document['metadata']['name']}"}
    return {"apiVersion": _BY_KIND[kind].api_version, "kind": kind, **document, "metadata": metadata}


_POD_SPEC: Final = {"containers": [{"name": "c", "image": "i"}]}
SEEDS: Final = [
    orjson.dumps(each)
    for each in (
        _whole("VirtualService", o.virtual_service("rec", _HTTP, "rec", "api.example.com", "*.example.org")),
        _whole("VirtualService", o.virtual_service("x", [{"route": [o.destination("odd-rec")]}], "rec.default.svc")),
        _whole("DestinationRule", o.destination_rule("rec", {"v1": {"arm": "v1"}, "v2": {"arm": "v2"}}, **_POLICY)),
        _whole("HTTPRoute", o.http_route("rec", _GATEWAY, "odd.example.com", parents=[{"kind": "Service", "name": "odd-rec"}])),
        _whole("Service", o.service("rec", 80, {"name": "grpc", "port": 9000, "targetPort": "grpc"})),
        _whole("EndpointSlice", o.endpoint_slice("rec", {"a": "127.1.1.1", "b": "127.1.1.2"}, unready=["b"])),
        {**_whole("Pod", o.pod("a", arm="v1")), "spec": _POD_SPEC},
    )
]  # fmt: skip
_GOOD: Final = [
    ("Service", o.service("good")),
    ("EndpointSlice", o.endpoint_slice("good", {"g": "127.1.1.9"})),
    ("Service", o.service("rec")),
    ("EndpointSlice", o.endpoint_slice("rec", {"a": "127.1.1.1", "b": "127.1.1.2"})),
]


class MeshedObjects:
    """Called with one object of a kind that the mesh reads."""

    def __init__(self) -> None:
        self._cluster = InProcess(api_server, HEADERS, EXPECTED)
        for kind, document in _GOOD:
            resource = _BY_KIND[kind]
            whole = {"apiVersion": resource.api_version, "kind": kind, **document}
            created = sent(self._cluster, b"POST", resource.path("default"), whole)
            assert created.status == 201, created

    def __call__(self, body: bytes) -> None:
        document = document_of(body)
        resource = _BY_KIND.get(str(document.get("kind"))) if document else None
        if document is None or resource is None:
            return
        created = sent(self._cluster, b"POST", resource.path("default"), document)
        assert created.status < 500, created
        if created.status != 201:
            return
        name = orjson.loads(created.body)["metadata"]["name"]
        try:
            _written(self._stores())
        finally:
            gone = sent(self._cluster, b"DELETE", resource.path("default", name) + "?gracePeriodSeconds=0")
            assert gone.status < 300, gone

    def _stores(self) -> dict[Resource, Store]:
        stores = {}
        for resource in RESOURCES:
            listed = orjson.loads(sent(self._cluster, b"GET", resource.path("default")).body)
            stores[resource] = store = Store(resource)
            store.replace([resource.typed(item) for item in listed["items"]], 1)
        return stores


def written_for_envoy(mesh: Mesh) -> None:
    """Writes all that Envoy is given."""
    names = mesh.clusters.names()
    orjson.dumps([virtual_host(host, names.__getitem__) for host in mesh.hosts])
    orjson.dumps(cluster_resources(mesh.clusters, Path("/xds")))
    orjson.dumps(endpoint_resources(mesh.clusters))


def _written(stores: dict[Resource, Store]) -> None:
    mesh = translate(mesh_objects(stores))
    written_for_envoy(mesh)
    [good] = (host for host in mesh.hosts if host.name == "good.default.svc.cluster.local:80")
    claimed = {origin[0] for origin in good.origins} & {"VirtualService", "HTTPRoute"}
    assert claimed or good.rules[0].backends, good
    assert ("127.1.1.9", 8080) in mesh.ready
