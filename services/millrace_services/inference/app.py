"""The inference service: loads the model while it listens, then answers.

Startup and readiness probes say no until the model is loaded and warm; liveness answers from the first moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from millrace_core.base.errors import MillraceError, ReportError
from millrace_services.inference import result, session
from millrace_services.inference.cpu import cpu_count
from millrace_services.inference.dataplane import DataPlane, Meters
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.lane import Lane
from millrace_services.inference.rest import RestTranslator
from millrace_services.inference.routes import control_routes
from millrace_services.inference.served import ServedModel, Serving, measured
from millrace_services.inference.session import ModelSession
from millrace_services.inference.settings import InferenceSettings
from millrace_services.inference.signature import Signature
from millrace_services.web import server
from millrace_services.web.metrics import Metrics
from millrace_services.web.service import Service

logger = logging.getLogger(__name__)

_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class InferenceServer:
    """The service and the model it serves.

    Raises:
        RejectError: there is no model file.
    """

    def __init__(self, settings: InferenceSettings) -> None:
        self.settings = settings
        # Before the first request: every answer and every metric carries the version, which follows from the digest.
        model = ServedModel(settings.model_name, measured(settings.path), settings.deployment)
        self.serving = Serving(model)
        labels = {"model": model.name, "version": model.version, "deployment": model.deployment}
        headers = [
            (b"x-millrace-deployment", model.deployment.encode()),
            (b"x-millrace-model-version", model.version.encode()),
        ]
        self.service = Service("Millrace inference", settings, self._lifespan, labels=labels, headers=headers)
        self.service.health.add("model", self._check)
        self.service.api.include_router(control_routes(self.serving, self.service.health))
        RestTranslator(self.serving).add_routes(self.service)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        loading = asyncio.create_task(self._load())
        yield
        loading.cancel()
        if self.serving.data is not None:
            await self.serving.data.aclose()

    async def _load(self) -> None:
        settings = self.settings
        try:
            threads = settings.threads or cpu_count()
            loaded = await asyncio.to_thread(session.load_warm, settings.path, settings.device, threads)
            self.serving.data = self._data_plane(loaded)
        except MillraceError as error:
            self.service.fail(error)
            return
        except (
            Exception
        ) as error:  # nobody waits for this task: an unready server for ever would be all there is to see
            logger.exception("loading failed")
            self.service.fail(ReportError(f"the model cannot be loaded: {error}"))
            return
        server.freeze()
        logger.info(
            "serving",
            extra={
                "model": self.serving.model.described(),
                "device": loaded.device,
                "rowSeconds": loaded.row_seconds,
            },
        )

    def _data_plane(self, loaded: ModelSession) -> DataPlane:
        metrics = self.service.metrics
        metrics.info("millrace_inference_device", "Where the model runs", device=loaded.device)
        compute = metrics.histogram("millrace_inference_compute_seconds", "Seconds of one run of the model")
        rows = metrics.histogram("millrace_inference_batch_rows", "Rows of one run of the model", bounds=_ROWS)
        meters = Meters(compute.series().observe, rows.series().observe)
        join = _feature_join(self.settings, loaded.signature, metrics)
        data = DataPlane(loaded, join, _lane(self.settings, metrics), meters, self.service.fail)
        metrics.gauge("millrace_inference_in_flight", "Predictions being made or waiting", lambda: data.in_flight)
        return data

    async def _check(self) -> str:
        return "" if self.serving.data else "the model is still loading"


def _lane(settings: InferenceSettings, metrics: Metrics) -> Lane:
    queue = metrics.histogram("millrace_inference_queue_seconds", "Seconds that a request waited for the model")
    lane = Lane(
        max_waiting=settings.queue_requests,
        timeout=settings.queue_timeout,
        queue_seconds=queue.series().observe,
        shed=metrics.counter("millrace_inference_shed", "Requests refused because too many waited").inc,
    )
    metrics.gauge("millrace_inference_queue_depth", "Requests that wait for the model", lambda: lane.waiting)
    return lane


def _feature_join(settings: InferenceSettings, signature: Signature, metrics: Metrics) -> FeatureJoin | None:
    if settings.features is None:
        return None
    reads = metrics.histogram("millrace_inference_feature_join_seconds", "Seconds of one read of features")
    return FeatureJoin(
        settings.features,
        signature,
        gateway_url=settings.gateway_url,
        project=settings.project,
        seconds=reads.series().observe,
    )


def main(environ: Mapping[str, str]) -> int:
    """The ``serve`` command; the reason of a failed start goes to the termination log too."""
    log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)
    return server.main(
        InferenceSettings,
        lambda settings: InferenceServer(settings).service,
        on_error=lambda error: result.report(log, result.of_error(error)),
    )
