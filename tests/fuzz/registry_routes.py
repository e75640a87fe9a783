"""The registry's routes over a database of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import orjson

from millrace_services.registry import app
from millrace_services.registry.settings import RegistrySettings
from tests.builders import feature_view, model_deployment
from tests.fuzz.in_process import Application, InProcess
from tests.told_registry import KINDS

_JSON: Final = b" content-type:application/json\n"
_VIEW: Final = feature_view("stats").having("spec.tags", {"team": "risk"}).having("spec.owner", "a@b.c").build()
_MODEL: Final = model_deployment("fraud").having("spec.features", {"refs": ["stats:amount"]}).build()
_ID: Final = f"sha256:{'0' * 64}"
_DATASET: Final = {
    "id": _ID,
    "uri": "s3://b/d1/",
    "createdAt": "2026-01-01T00:00:00Z",
    "rows": 3,
    "views": [{"project": "shop", "name": "stats", "schemaHash": "sha256:00", "features": ["amount"]}],
}
_RUN: Final = {"kind": "materialization", "namespace": "shop", "view": "stats", "rows": 3, "seconds": 1.5}

SEEDS: Final = [
    *(b"PUT /v1/catalogue/%s/shop/x?release=r%s%s" % (kind, _JSON, orjson.dumps(document))
      for kind, document in ((b"FeatureView", _VIEW), (b"ModelDeployment", _MODEL))),
    b"PUT /v1/catalogue/FeatureView%s%s" % (_JSON, orjson.dumps({"items": [_VIEW], "empties": 0, "scope": ["shop"]})),
    b"PUT /v1/feature-services/shop/f1%s%s" % (_JSON, orjson.dumps({"features": ["stats:amount"], "owner": "me"})),
    b"PUT /v1/datasets/%s%s%s" % (_ID.encode(), _JSON, orjson.dumps(_DATASET)),
    b"PUT /v1/runs/r1%s%s" % (_JSON, orjson.dumps(_RUN)),
    b"GET /v1/catalogue?kind=featureviews&namespace=shop&name=x&owner=o&entity=user_id&feature=amount&tag=team%3Drisk&q=a+b&limit=10&offset=0",
    b"GET /v1/catalogue/FeatureView/shop/x",
    b"DELETE /v1/catalogue/FeatureView/shop/x?release=r",
    b"GET /v1/definitions if-none-match:W/\"abc\",*",
    b"GET /v1/feature-views/shop/x/schemas/sha256:00ff",
    b"GET /v1/feature-views/shop/x/lineage",
    b"GET /v1/feature-services?namespace=shop&limit=5",
    b"GET /v1/runs?kind=a&namespace=b&view=c&limit=1",
    b"GET /v1/datasets?namespace=shop&view=stats&limit=1",
    b"GET /v1/datasets/000",
    b"GET /metrics accept:application/openmetrics-text;version=1.0.0",
]  # fmt: skip


class RegistryRoutes:
    """Called with one request; the registry has to be able to give all that it has taken."""

    _GIVEN: Final = (
        b"GET /v1/definitions",
        b"GET /v1/catalogue",
        b"GET /v1/datasets",
        b"GET /v1/runs",
        b"GET /v1/feature-services",
        b"GET /v1/feature-views/shop/stats/lineage",
    )

    def __init__(self) -> None:
        self._registry = InProcess(opened)
        for kind in KINDS:  # before each kind was told once, questions about it are answered by 503
            self._registry(b'PUT /v1/catalogue/%s%s{"items": []}' % (kind.encode(), _JSON))

    def __call__(self, sent: bytes) -> None:
        answered = self._registry(sent)
        if answered is not None and answered.status < 300 and not sent.startswith(b"GET"):
            for question in self._GIVEN:
                self._registry(question)


@asynccontextmanager
async def opened() -> AsyncIterator[Application]:
    """A registry with nothing in it."""
    with tempfile.TemporaryDirectory() as folder:
        service = app.build(RegistrySettings(MILLRACE_DATABASE_URL=f"sqlite:///{Path(folder)}/registry.db"))
        async with service.running():
            yield service
