"""What a prediction's time went into is in its caller's trace: the wait, the run, the read of features."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

import httpx
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from millrace_services.inference.run_spans import RunSpans
from millrace_services.inference.runs import Done
from millrace_services.web import trace
from millrace_services.web.metrics import Metrics
from millrace_services.web.spans import Spans
from tests.services.collector import Collector, collecting

CALLER = "b7ad6b7169203331"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


class Recorded:
    """Spans that stay in this process."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.spans = Spans(self.exporter, "test", {}, Metrics())

    def request(self, digit: str, flags: str = "01"):
        """The span of a request in a trace of its own."""
        headers = [(b"traceparent", f"00-{digit * 32}-{CALLER}-{flags}".encode())]
        scope = {"method": "POST", "path": "/predict", "headers": headers}
        trace.enter(scope)
        self.spans.begin(scope)
        return self.spans.current()

    async def ended(self):
        await self.spans.aclose()
        return {(f"{span.context.trace_id:032x}"[0], span.name): span for span in self.exporter.get_finished_spans()}


async def test_a_shared_run_stands_in_the_first_ones_trace_with_links_to_all_and_the_others_link_to_it():
    recorded = Recorded()
    members = [recorded.request("1"), recorded.request("2", "00"), recorded.request("3")]
    assert members[1] is None
    now = perf_counter()
    came = [now - 3, now - 2.5, now - 2]
    RunSpans(recorded.spans).ran(Done([], 1.0, now - 1), 7, list(zip(members, came, strict=True)))
    spans = await recorded.ended()
    assert set(spans) == {("1", "queue"), ("1", "run"), ("3", "queue"), ("3", "run")}
    first, other = spans["1", "run"], spans["3", "run"]
    assert [link.context for link in first.links] == [members[0].get_span_context(), members[2].get_span_context()]
    assert [link.context for link in other.links] == [first.context]
    assert first.attributes == {"millrace.batch.rows": 7, "millrace.batch.requests": 3}
    for (digit, _), span in spans.items():
        assert span.parent.span_id == members[0 if digit == "1" else 2].get_span_context().span_id
    seconds = {key: (span.end_time - span.start_time) / 1e9 for key, span in spans.items()}
    assert seconds == pytest.approx(
        {("1", "queue"): 2.0, ("3", "queue"): 1.0, ("1", "run"): 1.0, ("3", "run"): 1.0}, abs=1e-6
    )
    assert spans["1", "queue"].end_time == pytest.approx(first.start_time, abs=1000)


async def test_a_run_that_serves_one_request_has_no_links():
    recorded = Recorded()
    RunSpans(recorded.spans).ran(Done([], 0.1, 2.0), 1, [(recorded.request("1"), 1.0)])
    assert [(span.name, len(span.links)) for span in (await recorded.ended()).values()] == [("queue", 0), ("run", 0)]


async def test_a_call_that_fails_is_a_failed_span_and_the_request_is_itself_again():
    recorded = Recorded()
    recorded.request("1")
    before = trace.current()
    places = []

    def call() -> None:
        with recorded.spans.child("feature join"):
            places.append(trace.current())
            raise TimeoutError

    with pytest.raises(TimeoutError):
        call()
    [inside] = places
    assert trace.current() == before
    assert (inside.trace_id, inside.flags) == (before.trace_id, "01")
    span = (await recorded.ended())["1", "feature join"]
    assert f"{span.context.span_id:016x}" == inside.span_id != before.span_id
    assert span.attributes["error.type"] == "TimeoutError"


async def test_an_exporter_that_fails_is_counted():
    recorded = Recorded()
    recorded.exporter.export = lambda spans: SpanExportResult.FAILURE
    recorded.spans.record(recorded.request("1"), "queue", 1.0, 2.0)
    await recorded.spans.aclose()
    assert recorded.spans._queue.outcomes() == {"sent": 0, "dropped": 0, "failed": 1}


def test_a_prediction_leaves_its_request_its_wait_and_its_run_in_the_callers_trace(serve, models, collector):
    server = serve(models["sum"], **collector.environment)
    trace_id = "a" * 32
    answer = httpx.post(
        f"{server.url}/v2/models/m/infer",
        json={"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]},
        headers={"traceparent": f"00-{trace_id}-{CALLER}-01", "x-millrace-arm": "treatment"},
    )
    request = collector.wait_for("POST infer", trace_id)
    assert request.parent_id == CALLER
    assert request.attributes["millrace.predictionId"] == answer.headers["x-millrace-prediction-id"]
    assert request.attributes["millrace.rows"] == 2
    assert request.resource["service.name"] == "millrace-inference"
    assert request.resource["millrace.model"] == "m"
    assert request.resource["millrace.deployment"] == "m-v7"
    for name in ("queue", "run"):
        span = collector.wait_for(name, trace_id)
        assert span.parent_id == request.span_id
        assert request.began <= span.began <= span.ended <= request.ended
    assert 'arm="treatment"' in httpx.get(f"{server.url}/metrics").text


def test_the_read_of_features_is_the_gateways_caller(start_service, serve, models, collector):
    gateway = start_service(
        "-m",
        "millrace_services.gateway",
        MILLRACE_STORE_URL="redis://127.0.0.1:1",
        MILLRACE_REGISTRY_URL="http://127.0.0.1:1",
        **collector.environment,
    )
    server = serve(
        models["sum"],
        MILLRACE_FEATURES='{"refs": ["v:a", "v:b", "v:c"]}',
        MILLRACE_GATEWAY_URL=gateway.url,
        **collector.environment,
    )
    trace_id = "b" * 32
    headers = {"traceparent": f"00-{trace_id}-{CALLER}-01"}
    answer = httpx.post(f"{server.url}/predict", json={"entities": {"u": [1]}}, headers=headers)
    assert answer.status_code == 424, "the gateway has no definitions"
    request = collector.wait_for("POST predict", trace_id)
    join = collector.wait_for("feature join", trace_id)
    read = collector.wait_for("POST /get-online-features", trace_id)
    assert (request.parent_id, join.parent_id, read.parent_id) == (CALLER, request.span_id, join.span_id)
    assert (request.failed, join.kind, join.failed, read.failed) == (False, "client", True, True)
    assert read.resource["service.name"] == "millrace-gateway"
