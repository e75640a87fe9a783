"""Prometheus metrics of a service, in a registry of its own."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

# Seconds; resolves 1 to 500 ms, where a serving system lives.
SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03),
    *(0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0),
)


class Series:
    """Observations under one set of label values. For the event loop's thread alone: it takes no lock."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Adds one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class Histogram:
    """A histogram that costs a third of a microsecond per observation, a fifth of the client library's.

    On a hot path that answers in tens of microseconds, locks and linear searches for buckets are what metrics cost.
    """

    def __init__(
        self, name: str, text: str, labels: tuple[str, ...], constant: Mapping[str, str], bounds: tuple[float, ...]
    ) -> None:
        self._name = name
        self._text = text
        self._labels = (*labels, *constant)
        self._constant = tuple(constant.values())
        self._bounds = bounds
        self._series: dict[tuple[object, ...], Series] = {}

    def series(self, *labels: object) -> Series:
        """The observations under these label values."""
        found = self._series.get(labels)
        if found is None:
            found = self._series[labels] = Series(self._bounds)
        return found

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        for labels, series in self._series.items():
            buckets = list(zip(names, map(float, accumulate(series.counts)), strict=True))
            family.add_metric([*map(str, labels), *self._constant], buckets, series.sum)
        yield family


class Tally:
    """Counters by the values of one label; add to ``counts`` on the event loop only."""

    def __init__(self, name: str, text: str, label: str, constant: Mapping[str, str]) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._name = name
        self._text = text
        self._labels = (label, *constant)
        self._constant = tuple(constant.values())

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for value, count in self.counts.items():
            family.add_metric([value, *self._constant], count)
        yield family


class _ReadCounter:
    def __init__(
        self, name: str, text: str, label: str, constant: Mapping[str, str], read: Callable[[], Mapping[str, int]]
    ) -> None:
        self._name = name
        self._text = text
        self._labels = (label, *constant)
        self._constant = tuple(constant.values())
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """What a scrape sees."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for value, count in self._read().items():
            family.add_metric([value, *self._constant], count)
        yield family


class Metrics:
    """The registry, and what every service measures: seconds of its requests by route and code.

    The histogram's ``_count`` is the number of requests, so there is no second counter.

    Args:
        constant: labels with the same value on every metric of this service.
        request_labels: what ``observe`` is told of a request beside route and code.
    """

    def __init__(self, constant: Mapping[str, str] | None = None, request_labels: tuple[str, ...] = ()) -> None:
        # One series less per series; nothing here reads the times of creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._constant = dict(constant or {})
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self.histogram(
            "millrace_http_request_seconds",
            "Seconds from the head of a request to the end of its answer",
            ("route", "code", *request_labels),
        )

    def histogram(
        self, name: str, text: str, labels: tuple[str, ...] = (), bounds: tuple[float, ...] = SECONDS
    ) -> Histogram:
        """A new histogram; observe it on the event loop only."""
        made = Histogram(name, text, labels, self._constant, bounds)
        self.registry.register(made)
        return made

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is scraped."""
        gauge = Gauge(name, text, tuple(self._constant), registry=self.registry)
        (gauge.labels(**self._constant) if self._constant else gauge).set_function(read)

    def counter(self, name: str, text: str) -> Counter:
        """A new counter."""
        counter = Counter(name, text, tuple(self._constant), registry=self.registry)
        return counter.labels(**self._constant) if self._constant else counter

    def labelled_counter(self, name: str, text: str, *labels: str) -> Callable[[tuple[str, ...], int], None]:
        """A new counter per values of labels, for what is rare: adding to one takes locks."""
        counter = Counter(name, text, (*labels, *self._constant), registry=self.registry)
        constant = tuple(self._constant.values())
        return lambda values, count: counter.labels(*values, *constant).inc(count)

    def tally(self, name: str, text: str, label: str) -> Tally:
        """A new counter per value of a label, for the event loop alone: adding to one costs an addition."""
        made = Tally(name, text, label, self._constant)
        self.registry.register(made)
        return made

    def info(self, name: str, text: str, **labels: str) -> None:
        """A gauge of value 1 whose labels say something that stays."""
        labels |= self._constant
        Gauge(name, text, tuple(labels), registry=self.registry).labels(**labels).set(1)

    def read_counter(self, name: str, text: str, label: str, read: Callable[[], Mapping[str, int]]) -> None:
        """A counter per value of a label, kept elsewhere and read when it is scraped."""
        self.registry.register(_ReadCounter(name, text, label, self._constant, read))

    def observe(self, seconds: float, route: str, status: int, *labels: str) -> None:
        """Counts one answered request."""
        self._requests.series(route, status, *labels).observe(seconds)

    def render(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the exposition format that the scraper accepts, and its content type.

        A version that is no number has the library compare it with one: such a scraper gets the plain text.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):
            encode, content_type = choose_encoder("")
        return encode(self.registry), content_type
