"""Spans of requests come to a collector by OTLP, in their callers' traces; nobody waits for it, or pays without one."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from millrace_core.base.errors import RejectError
from millrace_services.web import tracing
from millrace_services.web.metrics import Metrics
from millrace_services.web.span_queue import SpanQueue
from tests.services.collector import Collector, collecting

TOY = str(Path(__file__).with_name("toy_service.py"))
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture(scope="module")
def toy(start_service, collector):
    return start_service(TOY, **collector.environment)


def parent(trace_id: str = TRACE, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace_id}-{CALLER}-{flags}"}


def test_a_request_is_a_span_of_its_callers_trace_and_the_next_servers_caller(toy, collector):
    sent = httpx.get(f"{toy.url}/trace", headers=parent())
    span = collector.wait_for("GET /trace", TRACE)
    assert (span.parent_id, span.kind, span.failed) == (CALLER, "server", False)
    assert span.attributes == {
        "http.request.method": "GET",
        "url.path": "/trace",
        "http.route": "/trace",
        "http.response.status_code": 200,
    }
    assert span.resource["service.name"] == "toy"
    assert f"traceparent: 00-{TRACE}-{span.span_id}-01" in sent.text.splitlines()


def test_logs_name_the_span(toy, collector):
    trace_id = "1" * 32
    httpx.post(f"{toy.url}/echo", content="bug", headers=parent(trace_id))
    span = collector.wait_for("POST /echo", trace_id)
    assert span.failed
    assert span.attributes["error.type"] == "500"
    [line] = [line for line in toy.log_lines() if line.get("trace_id") == trace_id]
    assert (line["message"], line["span_id"]) == ("unexpected error", span.span_id)


def test_a_request_without_a_caller_begins_a_trace(toy, collector):
    sent = httpx.get(f"{toy.url}/trace").text
    trace_id = sent.partition("traceparent: 00-")[2][:32]
    assert collector.wait_for("GET /trace", trace_id).parent_id == ""
    assert f"x-request-id: {trace_id}" in sent


def test_what_the_caller_does_not_sample_and_probes_make_no_spans(toy, collector):
    unsampled, sampled = "2" * 32, "3" * 32
    sent = httpx.get(f"{toy.url}/trace", headers=parent(unsampled, "00"))
    assert sent.text.splitlines()[0].split("-")[1::2] == [unsampled, "00"]
    for path in ("/health/live", "/health/ready", "/metrics"):
        httpx.get(toy.url + path, headers=parent(sampled))
    httpx.get(f"{toy.url}/trace", headers=parent(sampled))
    # Spans are sent in the order in which they ended.
    collector.wait_for("GET /trace", sampled)
    assert [span.name for span in collector.of(sampled)] == ["GET /trace"]
    assert collector.of(unsampled) == []


def test_a_collector_that_is_away_costs_spans_which_are_counted_and_no_request(start_service):
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        toy = start_service(
            TOY,
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_BSP_SCHEDULE_DELAY="20",
            OTEL_BSP_MAX_QUEUE_SIZE="2",
            OTEL_BSP_MAX_EXPORT_BATCH_SIZE="2",
        )
        assert {httpx.post(f"{toy.url}/echo", content="hi").status_code for _ in range(9)} == {200}
        counted = {
            outcome: float(line.rpartition(" ")[2])
            for line in httpx.get(f"{toy.url}/metrics").text.splitlines()
            for outcome in ("sent", "dropped", "failed")
            if line.startswith(f'millrace_trace_spans_total{{outcome="{outcome}"')
        }
        assert counted["sent"] == 0
        # Two wait or are on their way at most; what could not be sent is not kept either.
        assert 7 <= counted["dropped"] + counted["failed"] <= 9
        toy.terminate()
        assert toy.exit_code() == 0


def test_a_protocol_that_is_not_spoken_ends_the_start_with_a_sentence(start_service):
    toy = start_service(
        TOY,
        listening=False,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )
    assert toy.exit_code() == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL: traces are sent by http/protobuf, 'grpc' came" in toy.log()


def test_a_queue_that_holds_nothing_is_refused_with_its_name():
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}
    with pytest.raises(RejectError, match="OTEL_BSP_MAX_QUEUE_SIZE: '0' came"):
        tracing.opened(environ, "toy", {}, Metrics())


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        # Of an environment that is all processes' of a pod, with another signal's protocol.
        {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_without_an_endpoint_or_switched_off_there_are_no_spans(environ):
    assert tracing.opened(environ, "toy", {}, Metrics()) is None


def test_a_process_without_an_endpoint_imports_neither_the_sdk_nor_the_exporter():
    program = (
        "import sys\nfrom millrace_services.gateway import app\nfrom millrace_services.inference import app\n"
        "from millrace_services.web import tracing\nfrom millrace_services.web.metrics import Metrics\n"
        "assert tracing.opened({}, 't', {}, Metrics()) is None\n"
        "assert not {'opentelemetry.sdk', 'opentelemetry.exporter', 'requests'} & {*sys.modules}\n"
    )
    # FastAPI imports OpenTelemetry's API where it is installed, for spans of its own that go nowhere.
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr


def test_the_protocol_of_traces_goes_before_that_of_all_signals():
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    assert tracing.is_wanted({**endpoint, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"})
    with pytest.raises(RejectError, match="console"):
        tracing.is_wanted({**endpoint, "OTEL_TRACES_EXPORTER": "console"})


class StuckExporter(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert self.go.wait(60)
        self.taken += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self.go.set()


def test_while_the_exporter_is_stuck_a_bounded_number_waits_and_the_rest_is_counted():
    exporter = StuckExporter()
    queue = SpanQueue(exporter, most=4, batch=4)
    provider: Any = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for _ in range(10):
        provider.get_tracer("t").start_span("s").end()
    assert queue.outcomes() == {"sent": 0, "dropped": 6, "failed": 0}
    exporter.go.set()
    queue.shutdown()
    assert queue.outcomes() == {"sent": 4, "dropped": 6, "failed": 0}
    assert exporter.taken == 4
