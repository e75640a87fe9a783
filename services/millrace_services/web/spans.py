"""The spans of a service by OpenTelemetry; imported where somebody wants them alone (``tracing``).

Spans that do not fit into the bounded queue, or that the collector does not take, are lost and counted; no request
waits for either. All of it is for the event loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from millrace_services.web import trace
from millrace_services.web.metrics import Metrics
from millrace_services.web.span_queue import SpanQueue
from millrace_services.web.trace import Attributes, Scope, Trace

# What a request's span says of its end beyond the status.
Details = Callable[[], Attributes]

# Probes and scrapes make no spans: they are most of what an idle server answers.
_QUIET: Final = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/metrics"})
_SPAN: Final = "millrace.span"
_SERVER_ERROR: Final = 500
_CLIENT_GONE: Final = 499
# How long the end of the process waits for the collector.
CLOSE_SECONDS: Final = 3.0


class Spans:
    """Begins, ends and sends them.

    Args:
        exporter: takes batches of spans in a thread of its own.
        service: its name, where ``OTEL_SERVICE_NAME`` says no other.
        resource: what holds for all spans.
        metrics: get the counter of spans.
        most: spans that may wait for the exporter.
        batch: spans that are sent together.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        service: str,
        resource: Attributes,
        metrics: Metrics,
        most: int = 2048,
        batch: int = 512,
    ) -> None:
        self._queue = SpanQueue(exporter, most, batch)
        # The SDK's own end would wait for the collector for half a minute.
        provider = TracerProvider(resource=_resource(service, resource), shutdown_on_exit=False)
        provider.add_span_processor(self._queue)
        self._tracer = provider.get_tracer("millrace")
        metrics.read_counter(
            "millrace_trace_spans",
            "Spans by what became of them: sent, failed (the collector did not take them), dropped (too many waited)",
            "outcome",
            self._queue.outcomes,
        )

    def begin(self, scope: Scope) -> None:
        """Begins the span of a request, in its caller's trace."""
        method, path = scope["method"], scope["path"]
        if path in _QUIET:
            return
        place = trace.of(scope["headers"])
        attributes = {"http.request.method": method, "url.path": path}
        span = self._tracer.start_span(method, _context(place), SpanKind.SERVER, attributes)
        scope[_SPAN] = span
        trace.set_place(scope, _placed(place, span.get_span_context()))

    def end(self, scope: Scope, route: str, status: int, details: Details | None) -> None:
        """Ends the span of a request that was answered."""
        span: Span | None = scope.get(_SPAN)
        if span is None or not span.is_recording():
            return
        span.update_name(f"{scope['method']} {route}")
        span.set_attributes({"http.route": route, "http.response.status_code": status})
        if details is not None:
            span.set_attributes({f"millrace.{name}": value for name, value in details().items()})
        if status >= _SERVER_ERROR or status == _CLIENT_GONE:
            _fail(span, str(status))
        span.end()

    def current(self) -> Span | None:
        """The current request's span, where it is recorded."""
        scope = trace.current_scope()
        span: Span | None = None if scope is None else scope.get(_SPAN)
        return span if span is not None and span.is_recording() else None

    @contextmanager
    def child(self, name: str, attributes: Attributes | None = None) -> Iterator[None]:
        """A span of a call to another server, which gets it as its caller's (``trace.outgoing``)."""
        parent, scope = self.current(), trace.current_scope()
        if parent is None or scope is None:
            yield
            return
        span = self._tracer.start_span(name, set_span_in_context(parent), SpanKind.CLIENT, attributes)
        place = trace.current()
        trace.set_place(scope, _placed(place, span.get_span_context()))
        try:
            yield
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            trace.set_place(scope, place)
            span.end()

    def record(
        self,
        parent: Span,
        name: str,
        began: float,
        ended: float,
        attributes: Attributes | None = None,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[SpanContext] = (),
    ) -> SpanContext:
        """A span of what has happened already, between two moments of ``perf_counter``."""
        now, clock = time.time_ns(), perf_counter()
        span = self._tracer.start_span(
            name,
            set_span_in_context(parent),
            kind,
            attributes,
            [Link(each) for each in links],
            now - int((clock - began) * 1e9),
        )
        span.end(now - int((clock - ended) * 1e9))
        return span.get_span_context()

    def record_call(self, name: str, began: float, ended: float, attributes: Attributes) -> None:
        """The same of a call to another server for the current request."""
        parent = self.current()
        if parent is not None:
            self.record(parent, name, began, ended, attributes, kind=SpanKind.CLIENT)

    async def aclose(self) -> None:
        """Sends what waits, if the collector takes it within ``CLOSE_SECONDS``."""
        ending = threading.Thread(target=self._queue.shutdown, name="traces", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, CLOSE_SECONDS)
        if ending.is_alive():
            self._queue.give_up()


def _resource(service: str, attributes: Attributes) -> Resource:
    made = Resource.create(attributes)
    # What the variables say goes first; the SDK calls a service that nobody named unknown_service.
    unnamed = str(made.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return made.merge(Resource({SERVICE_NAME: service})) if unnamed else made


def _context(place: Trace) -> Context:
    if not place.parent_id:
        return Context()
    state = TraceState.from_header([place.state]) if place.state else None
    flags = TraceFlags(int(place.flags, 16))
    caller = SpanContext(
        int(place.trace_id, 16), int(place.parent_id, 16), is_remote=True, trace_flags=flags, trace_state=state
    )
    return set_span_in_context(NonRecordingSpan(caller), Context())


def _placed(place: Trace, span: SpanContext) -> Trace:
    trace_id = f"{span.trace_id:032x}"
    request_id = trace_id if place.request_id == place.trace_id else place.request_id
    flags = f"{span.trace_flags:02x}"
    return place._replace(trace_id=trace_id, span_id=f"{span.span_id:016x}", flags=flags, request_id=request_id)


def _fail(span: Span, why: str) -> None:
    span.set_attribute("error.type", why)
    span.set_status(StatusCode.ERROR)
