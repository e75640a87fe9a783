"""Odd objects of the three kinds, through the API server's schema and the operators' own turns.

What the API server takes has to be one that harms itself alone: no turn ends by an error that nobody expects, or by the
same one for ever; no mapper of a watch, no metric, no entry of the catalogue fails by it; the good objects beside it
stay accepted; and it can be deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_core.base.errors import RetryError
from millrace_core.features.online import published
from millrace_kube import resources as r
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.queue import Key
from millrace_kube.watched import WATCHED
from millrace_operators.featureview.metrics import ViewMetrics
from millrace_operators.operator.catalogue import _entry
from millrace_operators.operator.process import controllers
from millrace_services.registry import documents
from tests.builders import canary, experiment, feature_view, model_deployment
from tests.fuzz.in_process import InProcess
from tests.fuzz.in_process_cluster import EXPECTED, HEADERS, InProcessClient, api_server, document_of, sent
from tests.operators.world import PLATFORM

_NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
_GOOD: Final = [
    feature_view("good").build(),
    model_deployment("good-a", service="good").having("spec.features", {"refs": ["good:amount"]}).build(),
    model_deployment("good-b", service="good").build(),
]
_PLURALS: Final = {kind.kind: kind.plural for kind in (r.FEATURE_VIEWS, r.MODEL_DEPLOYMENTS, r.EXPERIMENTS)}
_PATH: Final = "/apis/millrace.dev/v1alpha1/namespaces/fuzz"
_TURNS: Final = 8

_VIEW: Final = (
    feature_view("odd")
    .having("spec.owner", "a@b.c")
    .having("spec.tags", {"team": "risk"})
    .having("spec.ttl", "1d")
    .having("spec.aggregation", {"every": "1h"})
    .having("spec.requestFields", [{"name": "cart", "type": "float64"}])
    .having(
        "spec.features",
        [
            {"name": "amount", "type": "float64", "column": "a"},
            {"name": "sum7", "type": "float64", "aggregate": {"function": "sum", "column": "a", "window": "7d"}},
            {"name": "trend", "type": "float64", "expression": "sum7 / nullif(amount, 0)"},
            {"name": "ratio", "type": "float64", "expression": "request.cart / nullif(amount, 0)"},
        ],
    )
    .having("spec.quality", [{"column": "a", "maxNullRate": 0.01, "min": 0}, {"freshness": "2h", "severity": "warn"}])
    .having("spec.materialization", {"schedule": "*/15 * * * *", "lag": "5m", "startFrom": "2026-01-01T00:00:00Z",
                                     "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}, "suspend": False})
    .having("metadata.annotations", {COMMAND_ANNOTATION: "1:materialize 2026-01-01T00:00:00Z 2026-01-02T00:00:00Z"})
)  # fmt: skip
_MODEL: Final = (
    model_deployment("odd", "s3://models/odd/model.onnx", "odd")
    .having("spec.model.digest", f"sha256:{'0' * 64}")
    .having("spec.features", {"refs": ["good:amount"], "input": "features", "onMissing": "default", "timeout": "20ms"})
    .having("spec.inference", {"device": "auto", "gpu": {"count": 1}, "queue": {"maxRequests": 9, "timeout": "1s"}})
    .having("spec.resources", {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"}})
    .having("spec.scaling", {"min": 1, "max": 10, "metric": "queueDepth", "target": 5})
    .having("metadata.annotations", {COMMAND_ANNOTATION: "1:repin"})
)
_TEST: Final = (
    experiment("odd", "good", "good-a", "good-b")
    .having("spec.analysis", {"minRuntime": "1h", "maxRuntime": "7d", "interval": "60s"})
    .having("metadata.annotations", {COMMAND_ANNOTATION: "1:promote challenger"})
)
_STEPS: Final = [{"weight": 5, "hold": "10m"}, {"weight": 25}]
SEEDS: Final = [
    orjson.dumps(built.build())
    for built in (
        _VIEW,
        feature_view("odd").having("spec.source", {"push": {}, "timestampField": "t"}),
        _MODEL,
        model_deployment("odd", service="good"),
        _TEST,
        canary("odd", "good", "good-a", "good-b", _STEPS),
    )
]


class OperatedObjects:
    """Called with one object, which may be none at all."""

    def __init__(self) -> None:
        self._cluster = InProcess(api_server, HEADERS, EXPECTED)
        sent(self._cluster, b"POST", "/api/v1/namespaces", {"metadata": {"name": "fuzz"}})
        for document in _GOOD:
            created = sent(self._cluster, b"POST", f"{_PATH}/{_PLURALS[document['kind']]}", document)
            assert created.status == 201, created
        self._operator = self._cluster.run(_operator(self._cluster))
        self._settle()

    def __call__(self, body: bytes) -> None:
        document = document_of(body)
        plural = _PLURALS.get(str(document.get("kind"))) if document else None
        if document is None or plural is None:
            return
        status = document.pop("status", None)
        created = sent(self._cluster, b"POST", f"{_PATH}/{plural}?fieldValidation=Ignore", document)
        assert created.status < 500, created
        if created.status != 201:
            return
        path = f"{_PATH}/{plural}/{orjson.loads(created.body)['metadata']['name']}"
        if status is not None:
            sent(self._cluster, b"PUT", f"{path}/status", {**orjson.loads(created.body), "status": status})
        try:
            self._settle()
            self._operator.published()
        finally:
            sent(self._cluster, b"DELETE", path)
        self._settle()
        left = sent(self._cluster, b"GET", path)
        assert left.status == 404, left.body[-1500:]

    def _settle(self) -> None:
        self._cluster.run(self._operator.settle())


class Operator:
    """One process of the operators, as far as an odd object can reach it; nothing is watched, all is listed."""

    def __init__(self, cluster: CachedClient) -> None:
        self.cluster = cluster
        self._metrics = ViewMetrics(cluster.cache, cluster.now)
        self._keys: set[Key] = set()
        self._reconciles = {}
        self._mappers: list[tuple[str, r.Resource, Any]] = []
        for controller in controllers(cluster, PLATFORM):
            self._reconciles[controller.name] = controller.reconcile
            self._mappers += [(controller.name, resource, mapper) for resource, mapper in controller.watches.items()]
        cluster.cache.subscribe(self._changed)

    def _changed(self, resource: r.Resource, document: r.Object) -> None:
        for name, of, mapper in self._mappers:
            if of == resource:
                self._keys |= {Key(name, *place) for place in mapper(document)}

    async def settle(self) -> None:
        """Turns until nothing changes.

        Raises:
            AssertionError: a turn still fails after some.
        """
        failed: dict[Key, RetryError] = {}
        for _ in range(_TURNS):
            await self._list(WATCHED)
            keys, self._keys = self._keys | failed.keys(), set()
            if not keys:
                break
            failed = {}
            for key in sorted(keys):
                try:
                    await self._reconciles[key.controller](key)
                except RetryError as error:
                    failed[key] = error
        assert not failed, failed
        list(self._metrics.collect())

    def published(self) -> None:
        """What the registry and the gateway make of all objects."""
        entries = {}
        for resource, kind in (
            (r.FEATURE_VIEWS, "featureViews"),
            (r.MODEL_DEPLOYMENTS, "modelDeployments"),
            (r.EXPERIMENTS, ""),
        ):
            items = [_entry(item) for item in self.cluster.cache.all(resource, "fuzz")]
            entries[kind] = [documents.entry(resource.kind, item).document for item in items]
        del entries[""]
        found = published.snapshot(orjson.dumps(entries), "")
        assert ("fuzz", "good") in found.views, found.broken
        assert ("fuzz", "good-a") in found.feature_services, found.broken_services
        for resource in (r.FEATURE_VIEWS, r.MODEL_DEPLOYMENTS):
            for item in self.cluster.cache.all(resource, "fuzz"):
                if item["metadata"]["name"].startswith("good"):
                    stated = {each["type"]: each["status"] for each in item["status"]["conditions"]}
                    assert stated["Accepted"] == "True", item["status"]

    async def _list(self, resources: Iterable[r.Resource]) -> None:
        for resource in resources:
            found = await self.cluster.client.list(resource, labels=WATCHED[resource].labels)
            self.cluster.cache.replace(resource, *found)
        await asyncio.sleep(0)


async def _operator(cluster: InProcess) -> Operator:
    return Operator(CachedClient(InProcessClient(cluster), Cache(), clock=lambda: _NOW))
