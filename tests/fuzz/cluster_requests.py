"""The laptop mode's API server: bodies of all media types, patches, selectors, and what its answers are made of."""

from __future__ import annotations

from typing import Final

import orjson

from tests.builders import feature_view
from tests.fuzz.in_process import Answered, InProcess
from tests.fuzz.in_process_cluster import EXPECTED, HEADERS, api_server, sent
from tests.local.apiserver.test_protobuf import SECRET

_MAPS: Final = b"/api/v1/namespaces/default/configmaps"
_PODS: Final = b"/api/v1/namespaces/default/pods"
_APPS: Final = b"/apis/apps/v1/namespaces/default/deployments"
_VIEWS: Final = b"/apis/millrace.dev/v1alpha1/namespaces/default/featureviews"
_MAP: Final = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "there", "labels": {"app": "a"}, "annotations": {"b": "c"}, "finalizers": ["x/y"]},
    "data": {"k": "v"},
}
_POD: Final = {
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "ports": [{"containerPort": 80}],
                "env": [{"name": "A", "value": "b"}],
                "resources": {"requests": {"cpu": "500m"}},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
}
_DEPLOYMENT: Final = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d", "labels": {"app": "a"}},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}}, **_POD},
    },
}
_CRD: Final = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "toys.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "toys", "singular": "toy", "kind": "Toy", "shortNames": ["ty"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {
                                    "a": {"type": "integer", "default": 1, "minimum": 0},
                                    "b": {"type": "array", "items": {"type": "string", "pattern": "^a+$"}},
                                },
                                "x-kubernetes-validations": [{"rule": "self.a < 5", "message": "no"}],
                            }
                        },
                    }
                },
                "additionalPrinterColumns": [{"name": "A", "type": "integer", "jsonPath": ".spec.a"}],
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".status.a"},
                },
            }
        ],
    },
}
_TOY: Final = {"apiVersion": "example.com/v1", "kind": "Toy", "metadata": {"name": "t"}, "spec": {"a": 2, "b": ["aa"]}}
_JSON_PATCH: Final = [
    {"op": "test", "path": "/data/k", "value": "v"},
    {"op": "add", "path": "/metadata/labels/new", "value": "1"},
    {"op": "replace", "path": "/data/k", "value": "w"},
    {"op": "move", "from": "/data/k", "path": "/data/l"},
    {"op": "copy", "from": "/data/l", "path": "/data/k"},
    {"op": "remove", "path": "/metadata/labels/new"},
]
_STRATEGIC: Final = {
    "spec": {
        "template": {
            "spec": {
                "containers": [{"name": "c", "image": "j", "env": [{"name": "A", "$patch": "delete"}]}],
                "$setElementOrder/containers": [{"name": "c"}],
                "volumes": [{"$patch": "replace"}, {"name": "w", "emptyDir": {}}],
            }
        },
        "$retainKeys": ["replicas", "selector", "template"],
    }
}


def _request(line: bytes, document: object) -> bytes:
    return line + b"\n" + orjson.dumps(document)


_YAML: Final = b" content-type:application/yaml"
_PATCHES: Final = [
    (_MAPS + b"/there", b"merge-patch+json", {"data": {"k": "w", "x": None}, "metadata": {"labels": {"n": "1"}}}),
    (_MAPS + b"/there", b"json-patch+json", _JSON_PATCH),
    (_APPS + b"/d", b"strategic-merge-patch+json", _STRATEGIC),
    (_APPS + b"/d?fieldManager=me&force=true", b"apply-patch+yaml", _DEPLOYMENT),
    (_VIEWS + b"/stats?fieldManager=me", b"apply-patch+yaml", feature_view("stats").build()),
    (_VIEWS + b"/stats/status", b"merge-patch+json", {"status": {"watermark": "2026-01-01T00:00:00Z"}}),
    (_APPS + b"/d/scale", b"merge-patch+json", {"spec": {"replicas": 3}}),
]
SEEDS: Final = [
    _request(b"POST " + _MAPS + b"?dryRun=All&fieldValidation=Strict", _MAP),
    _request(b"PUT " + _MAPS + b"/there", _MAP),
    _request(b"POST " + _APPS, _DEPLOYMENT),
    _request(b"POST " + _PODS, {"metadata": {"name": "p", "ownerReferences": []}, **_POD}),
    _request(b"PUT /apis/apiextensions.k8s.io/v1/customresourcedefinitions/toys.example.com", _CRD),
    _request(b"POST /apis/example.com/v1/namespaces/default/toys", _TOY),
    _request(b"POST " + _VIEWS, feature_view("stats").build()),
    *(_request(b"PATCH " + path + b" content-type:application/" + kind, patch) for path, kind, patch in _PATCHES),
    b"POST " + _MAPS + _YAML + b"\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: y, labels: &a {b: c}}\ndata: *a\n",
    b"POST /api/v1/namespaces/default/secrets content-type:application/vnd.kubernetes.protobuf\n" + SECRET,
    b"GET " + _MAPS + b"?labelSelector=app+in+(a,b),!x,y!%3Dz,n%3E1&fieldSelector=metadata.name%3Dthere,metadata.namespace!%3Dq&limit=1",
    b"GET " + _MAPS + b"?resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=2&continue=abc",
    b"GET " + _PODS + b"?watch=1&allowWatchBookmarks=true&resourceVersion=1&timeoutSeconds=1",
    b"GET " + _APPS + b" accept:application/json;as=Table;v=v1;g=meta.k8s.io",
    b"GET " + _VIEWS + b"?includeObject=None accept:application/json;as=Table;v=v1;g=meta.k8s.io",
    b"GET /apis/example.com/v1/toys accept:application/json;as=Table;v=v1;g=meta.k8s.io",
    b"GET " + _PODS + b"/p/log?container=c&tailLines=3&sinceSeconds=1&limitBytes=9&timestamps=true&previous=1",
    b"GET /openapi/v3/apis/millrace.dev/v1alpha1?hash=a",
    b"GET /openapi/v2 accept:application/json",
    b"GET /apis accept:application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    _request(
        b"DELETE " + _MAPS + b"/there?propagationPolicy=Foreground",
        {"preconditions": {"uid": "a"}, "gracePeriodSeconds": 0, "propagationPolicy": "Orphan"},
    ),
    b"DELETE " + _MAPS + b"?labelSelector=app%3Db",
    _request(b"POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": {"resourceAttributes": {"verb": "get"}}}),
]  # fmt: skip


class ClusterRequests:
    """Called with one request. What was written has to be listed, as objects and as tables, and the server is well."""

    def __init__(self) -> None:
        self._cluster = InProcess(api_server, HEADERS, EXPECTED)

    def __call__(self, request: bytes) -> Answered | None:
        answered = self._cluster(request)
        if answered is None or request.startswith(b"GET"):
            return answered
        for path in (_MAPS, _PODS, _APPS, _VIEWS, b"/apis/example.com/v1/toys"):
            self._cluster(b"GET " + path + b" accept:application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        sound = sent(self._cluster, b"GET", "/api/v1/namespaces/default")
        assert sound.status == 200, sound
        return answered
