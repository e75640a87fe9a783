"""The inference service: loads the model while it listens, then answers.

Startup and readiness probes say no until the model is loaded and warm; liveness answers from the first moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from millrace_core.base.errors import MillraceError, NotFoundError, ReportError, RetryError
from millrace_services.inference import result, session
from millrace_services.inference.cpu import cpu_count
from millrace_services.inference.dataplane import DataPlane
from millrace_services.inference.download import digest
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.fetch import digest_file
from millrace_services.inference.lane import Lane
from millrace_services.inference.routes import control_routes
from millrace_services.inference.session import ModelSession
from millrace_services.inference.settings import InferenceSettings
from millrace_services.web import server
from millrace_services.web.hot import Answer, Call, Handler
from millrace_services.web.service import Service

logger = logging.getLogger(__name__)

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class InferenceServer:
    """The service and the model it serves; ``data`` is None until the model is loaded and warm."""

    def __init__(self, settings: InferenceSettings) -> None:
        self.settings = settings
        self.data: DataPlane | None = None
        labels = {
            "model": settings.model_name,
            "version": settings.model_version,
            "deployment": settings.deployment,
        }
        headers = [
            (b"x-millrace-deployment", settings.deployment.encode()),
            (b"x-millrace-model-version", settings.model_version.encode()),
        ]
        self.service = Service("Millrace inference", settings, self._lifespan, labels=labels, headers=headers)
        self.service.health.add("model", self._check)
        self.service.api.include_router(control_routes(self))
        self._route(self._refuse, self._refuse)

    def loaded(self) -> DataPlane:
        """The model's data plane.

        Raises:
            RetryError: it is not loaded yet.
        """
        if self.data is None:
            raise RetryError("the model is still loading", hint="Wait for /v2/health/ready", reason="NotReady", delay=1)
        return self.data

    def known(self, model: str, version: str | None = None) -> None:
        """Checks a model's name and version.

        Raises:
            NotFoundError: this server serves another one.
        """
        name, served = self.settings.model_name, self.settings.model_version
        if model != name:
            raise NotFoundError(f"there is no model {model!r} here", hint=f"This server serves {name!r}")
        if version not in (None, served):
            raise NotFoundError(
                f"model {name!r} has no version {version!r} here", hint=f"This server serves version {served!r}"
            )

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        yield
        loading.cancel()
        if self.data is not None:
            self.data.lane.close()
            if self.data.join is not None:
                await self.data.join.aclose()

    async def _load(self) -> None:
        try:
            loaded, model_digest = await asyncio.to_thread(_load, self.settings)
            self.data = self._data_plane(loaded, model_digest)
        except MillraceError as error:
            self.service.fail(error)
            return
        except (
            Exception
        ) as error:  # nobody waits for this task: an unready server for ever would be all there is to see
            logger.exception("loading failed")
            self.service.fail(ReportError(f"the model cannot be loaded: {error}"))
            return
        self._route(self.data.infer, self.data.predict)
        server.freeze()
        logger.info(
            "serving",
            extra={
                "model": self.data.model,
                "device": loaded.device,
                "rowSeconds": loaded.row_seconds,
            },
        )

    def _data_plane(self, loaded: ModelSession, model_digest: str) -> DataPlane:
        settings, metrics = self.settings, self.service.metrics
        queue = metrics.histogram("millrace_inference_queue_seconds", "Seconds that a request waited for the model")
        lane = Lane(
            max_waiting=settings.queue_requests,
            timeout=settings.queue_timeout,
            queue_seconds=queue.series().observe,
            shed=metrics.counter("millrace_inference_shed", "Requests refused because too many waited").inc,
        )
        metrics.gauge("millrace_inference_queue_depth", "Requests that wait for the model", lambda: lane.waiting)
        metrics.info("millrace_inference_device", "Where the model runs", device=loaded.device)
        compute = metrics.histogram("millrace_inference_compute_seconds", "Seconds of one run of the model")
        rows = metrics.histogram("millrace_inference_batch_rows", "Rows of one run of the model", bounds=_ROWS)
        join = None
        if settings.features is not None:
            reads = metrics.histogram("millrace_inference_feature_join_seconds", "Seconds of one read of features")
            join = FeatureJoin(
                settings.features,
                loaded.signature,
                gateway_url=settings.gateway_url,
                project=settings.project,
                seconds=reads.series().observe,
            )
        model = {
            "name": settings.model_name,
            "version": settings.model_version,
            "deployment": settings.deployment,
            "digest": model_digest,
        }
        data = DataPlane(loaded, join, lane, model, compute.series().observe, rows.series().observe, self.service.fail)
        metrics.gauge("millrace_inference_in_flight", "Predictions being made or waiting", lambda: data.in_flight)
        return data

    def _route(self, infer: Handler, predict: Handler) -> None:
        model = f"/v2/models/{self.settings.model_name}"
        for path in (model, f"{model}/versions/{self.settings.model_version}"):
            self.service.hot("POST", f"{path}/infer", infer, route="infer")
        self.service.hot("POST", "/predict", predict, route="predict")

    async def _refuse(self, call: Call) -> Answer:
        return await self.loaded().infer(call)  # says that it is not loaded

    async def _check(self) -> str:
        return "" if self.data else "the model is still loading"


def _load(settings: InferenceSettings) -> tuple[ModelSession, str]:
    """Blocking: loads and warms the model, and finds its digest."""
    loaded = session.load_warm(settings.path, settings.device, settings.threads or cpu_count())
    noted = digest_file(settings.path)
    return loaded, noted.read_text() if noted.is_file() else digest(settings.path).digest


def main(environ: Mapping[str, str]) -> int:
    """The ``serve`` command; the reason of a failed start goes to the termination log too."""
    log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)
    return server.main(
        InferenceSettings,
        lambda settings: InferenceServer(settings).service,
        on_error=lambda error: result.report(log, result.of_error(error)),
    )
