"""Prometheus metrics of a service, in a registry of its own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

# Seconds; resolves 1 to 500 ms, where a serving system lives.
SECONDS = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1.0,
    2.5,
    10.0,
)


class Metrics:
    """The registry, and the one histogram every service has: request seconds by route and code.

    Its ``_count`` is the number of requests by route and code, so there is no second counter.
    """

    def __init__(self) -> None:
        # One series less per series; nothing here reads the times of creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = Histogram(
            "millrace_http_request_seconds",
            "Seconds from the head of a request to the end of its answer",
            ("route", "code"),
            registry=self.registry,
            buckets=SECONDS,
        )
        self._children: dict[tuple[str, int], Histogram] = {}

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Counts one answered request."""
        child = self._children.get((route, status))
        if child is None:  # labels() takes a lock and formats; once per route and code is enough
            child = self._children[(route, status)] = self._requests.labels(route, str(status))
        child.observe(seconds)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the exposition format that the scraper accepts, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
