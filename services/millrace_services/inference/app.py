"""The inference service: loads the model while it listens, then answers.

Startup and readiness probes say no until the model is loaded and warm; liveness answers from the first moment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from millrace_core.api import names
from millrace_core.base.errors import MillraceError, ReportError
from millrace_core.evidence.gathered import Gathering
from millrace_services.inference import memory, prediction_log, result, session, starting
from millrace_services.inference.answering import Noting
from millrace_services.inference.batcher import Batcher, Meters, Waits
from millrace_services.inference.cpu import cpu_count
from millrace_services.inference.dataplane import DataPlane
from millrace_services.inference.feature_join import FeatureJoin
from millrace_services.inference.lane import Lane
from millrace_services.inference.line import Line, QueueLimits
from millrace_services.inference.prediction_cache import HIT, MISS, SHARED, CacheLimits, PredictionCache
from millrace_services.inference.prediction_log import PredictionLog
from millrace_services.inference.rest import RestTranslator
from millrace_services.inference.routes import control_routes
from millrace_services.inference.run_spans import RunSpans
from millrace_services.inference.runs import Flight, Runs
from millrace_services.inference.served import ServedModel, Serving, measured
from millrace_services.inference.session import ModelSession
from millrace_services.inference.settings import InferenceSettings
from millrace_services.inference.signature import Signature
from millrace_services.inference.supervisor import Supervisor
from millrace_services.web import server, tracing
from millrace_services.web.arms import Arms
from millrace_services.web.load import Mean, thread_seconds
from millrace_services.web.metrics import Metrics
from millrace_services.web.service import Service

if TYPE_CHECKING:
    from millrace_data.evidence.writer import EvidenceWriter

logger = logging.getLogger(__name__)

# By which native code ends a process, and the kernel one that took too much memory.
_CRASHES = ("SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGKILL", "SIGSEGV")
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)


class InferenceServer:
    """The service and the model it serves.

    Args:
        supervisor: of the process that this one replaces or may be replaced by.
        environ: has the credentials of the lake.
        on_serving: told once the model is loaded and warm.

    Raises:
        RejectError: there is no model file.
    """

    def __init__(
        self,
        settings: InferenceSettings,
        supervisor: Supervisor | None = None,
        environ: Mapping[str, str] | None = None,
        on_serving: Callable[[ServedModel, ModelSession], None] = lambda *_: None,
    ) -> None:
        self.settings = settings
        self._environ = environ or {}
        self._on_serving = on_serving
        self._writer: EvidenceWriter | None = None
        self._gathering: Gathering | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._supervisor = supervisor or Supervisor(lambda _: None)
        # Before the first request: every answer and every metric carries the version, which follows from the digest.
        model = ServedModel(settings.model_name, measured(settings.path), settings.deployment)
        patience = settings.queue_timeout if self._supervisor.is_restart else 0.0
        self.serving = Serving(model, patience, settings.queue_requests)
        labels = {"model": model.name, "version": model.version, "deployment": model.deployment}
        headers = [
            (b"x-millrace-deployment", model.deployment.encode()),
            (b"x-millrace-model-version", model.version.encode()),
        ]
        self.service = Service(
            "Millrace inference",
            settings,
            self._lifespan,
            labels=labels,
            headers=headers,
            arms=Arms(names.ARM_HEADER),
            decodes=True,
        )
        self._steps = starting.Steps(settings.start_timeout)
        self.service.health.add("model", self._check)
        _tell_crashes(self.service.metrics, self._supervisor)
        self.service.api.include_router(control_routes(self.serving, self.service.health))
        self._noting = Noting()
        RestTranslator(self.serving, settings, self._noting).add_routes(self.service)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        if self.settings.grpc_port is not None:
            await self._start_grpc(self.settings.grpc_port)
        loading = asyncio.create_task(self._load())
        yield
        loading.cancel()
        if self.serving.data is not None:
            await self.serving.data.aclose()
        if self._writer is not None and self._gathering is not None and self._flushing is not None:
            self._flushing.cancel()
            self._gathering.flush()
            await asyncio.to_thread(self._writer.close, prediction_log.CLOSE_SECONDS)

    async def _start_grpc(self, port: int) -> None:
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it says to stderr is no JSON, and no news
        from millrace_services.inference.grpc_server import GrpcServer  # noqa: PLC0415 it has threads, and takes 25 MB

        made = GrpcServer(self.settings, port, self.serving, self.service, self._noting)
        listening = await made.start()
        self.service.closers.append(made.stop)
        logger.info("listening for gRPC", extra={"host": self.settings.host, "port": listening})

    async def _load(self) -> None:
        settings = self.settings
        try:
            threads = settings.threads or cpu_count()
            loaded = await starting.started(
                lambda step: session.load_warm(settings.path, settings.device, threads, step, settings.batch_rows),
                self._steps,
            )
            await self._open_log(loaded.signature)
            data = self._data_plane(loaded)
            if data.join is not None:
                await data.join.prove()
            self.serving.set_loaded(data)
            self._supervisor.record.set_warm()
            self._on_serving(self.serving.model, loaded)
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
        room = memory.limit_growth() if loaded.device == "cpu" else None  # CUDA maps more than it takes
        logger.info(
            "serving",
            extra={
                "model": self.serving.model.described(),
                "device": loaded.device,
                "rowSeconds": loaded.row_seconds,
                "batching": loaded.batching.described(),
                "roomBytes": room,
            },
        )

    async def _open_log(self, signature: Signature) -> None:
        settings, model = self.settings, self.serving.model
        if settings.log is None:
            return
        prediction_log.check_redaction(settings.log, signature, settings.features.refs if settings.features else [])
        self._writer = await asyncio.to_thread(
            prediction_log.open_writer,
            settings,
            settings.log,
            model,
            self.service.metrics,
            self._environ,
            lambda: self.service.health.draining,
        )
        self._writer.start()
        specs = (*signature.inputs.values(), *signature.outputs.values())
        brain_floats = [spec.name for spec in specs if spec.datatype == "BF16"]
        self._gathering = Gathering(self._writer.add)
        self._flushing = asyncio.create_task(prediction_log.flush_often(self._gathering))
        self._noting.log = PredictionLog(settings.log, model.name, self._gathering.add, brain_floats)

    def _data_plane(self, loaded: ModelSession) -> DataPlane:
        metrics = self.service.metrics
        metrics.info("millrace_inference_device_info", "Where the model runs", device=loaded.device)
        join = _feature_join(self.settings, loaded.signature, metrics)
        supervisor = self._supervisor
        flight = Flight(supervisor.record, supervisor.refused, supervisor.suspected)
        runs = Runs(loaded, flight, _end_for_hung_run)
        lane = Lane(run_timeout=self.settings.run_timeout, hung=_end_for_hung_run)
        batcher = _batcher(self.settings, self.service, runs, lane)
        _tell_load(self.service, batcher.line)
        spans = self.service.spans
        span = tracing.no_span if spans is None else spans.child
        return DataPlane(runs, join, lane, batcher, self.service.fail, span, _cache(self.settings, metrics))

    async def _check(self) -> str:
        return "" if self.serving.data else f"the model has not finished {self._steps}"


def _tell_crashes(metrics: Metrics, supervisor: Supervisor) -> None:
    count = metrics.labelled_counter(
        "millrace_inference_crashes", "Processes that ran the model and were ended by a signal", "signal"
    )
    # A series that begins at its first crash would have no increase for it.
    for name in {*_CRASHES, *supervisor.crashes}:
        count((name,), supervisor.crashes[name])


def _batcher(settings: InferenceSettings, service: Service, runs: Runs, lane: Lane) -> Batcher:
    metrics, waited, spans = service.metrics, service.waited, service.spans
    compute = metrics.histogram("millrace_inference_compute_seconds", "Seconds of one run of the model")
    rows = metrics.histogram("millrace_inference_batch_rows", "Rows of one run of the model", bounds=_ROWS)
    requests = metrics.histogram("millrace_inference_batch_requests", "Requests of one run of the model", bounds=_ROWS)
    queue = metrics.histogram("millrace_inference_queue_seconds", "Seconds that a request waited for the model")
    return Batcher(
        runs,
        lane,
        Waits(QueueLimits(settings.queue_requests, settings.queue_timeout), settings.batch_delay),
        Meters(
            compute.series().observe,
            rows.series().observe,
            requests.series().observe,
            queue.series().observe,
            None if spans is None else RunSpans(spans),
        ),
        metrics.counter("millrace_inference_shed", "Requests refused because too many waited").inc,
        lambda: waited.count,
    )


def _tell_load(service: Service, line: Line) -> None:
    """What scalers look at: means, since a scrape, which takes its turn on the loop, finds the loop free."""
    metrics, present, waited = service.metrics, service.present, service.waited
    in_flight = Mean(present.seconds)
    depth = Mean(lambda: waited.seconds() + line.load.seconds())
    busy = Mean(thread_seconds())
    metrics.gauge(
        "millrace_inference_in_flight",
        "Predictions being made or waiting, on average since the last scrape a second ago",
        in_flight,
    )
    metrics.gauge(
        "millrace_inference_queue_depth",
        "Predictions that wait for the event loop or the model, on average since the last scrape a second ago",
        depth,
    )
    metrics.gauge(
        "millrace_inference_busy_ratio",
        "Share of time that the event loop computed or waited for a processor, since the last scrape a second ago",
        busy,
    )


def _cache(settings: InferenceSettings, metrics: Metrics) -> PredictionCache | None:
    if settings.cache is None:
        return None
    lookups = metrics.tally("millrace_inference_cache_lookups", "Predictions by what the cache had", "result").counts
    lookups |= dict.fromkeys((HIT, SHARED, MISS), 0)

    def count(said: str) -> None:
        lookups[said] += 1

    limits = CacheLimits(settings.cache.ttl, settings.cache.max_entries, settings.cache.max_bytes)
    cache = PredictionCache(limits, count)
    metrics.gauge("millrace_inference_cache_bytes", "Bytes that kept predictions take", lambda: cache.bytes)
    metrics.gauge("millrace_inference_cache_entries", "Predictions that are kept", lambda: len(cache))
    return cache


def _end_for_hung_run() -> None:
    logger.error("a run of the model goes on after it was stopped; the process ends, and another one takes its place")
    logging.shutdown()
    os.kill(os.getpid(), signal.SIGABRT)


def _feature_join(settings: InferenceSettings, signature: Signature, metrics: Metrics) -> FeatureJoin | None:
    if settings.features is None:
        return None
    reads = metrics.histogram("millrace_inference_feature_join_seconds", "Seconds of one read of features")
    return FeatureJoin(
        settings.features,
        signature,
        gateway_url=settings.gateway_url,
        project=settings.project,
        bearer=settings.bearer(),
        seconds=reads.series().observe,
    )


def main(environ: Mapping[str, str]) -> int:
    """The ``serve`` command; the reason of a failed start goes to the termination log too."""
    log = Path(environ.get("MILLRACE_TERMINATION_LOG") or result.KUBERNETES)

    def tell(error: MillraceError) -> None:
        result.report(log, result.of_error(error))

    supervisor = Supervisor(tell)
    return server.main(
        InferenceSettings,
        lambda settings: InferenceServer(settings, supervisor, environ).service,
        on_error=tell,
        supervise=supervisor.run,
    )
