"""What Prometheus sees of the operators: requests to the API server, reconciles, the work queue."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics


class KubeMetrics:
    """All series, in a registry of their own; ``generate_latest(metrics.registry)`` renders them."""

    def __init__(self) -> None:
        # One series less per series; nothing here reads the times of creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "millrace_kube_requests",
            "Requests to the API server by method, kind and HTTP status code (0: no answer)",
            ["method", "kind", "code"],
            registry=self.registry,
        )
        self.writes = Counter(
            "millrace_operator_writes",
            "Objects written, by controller-independent verb and kind",
            ["verb", "kind"],
            registry=self.registry,
        )
        self.reconciles = Counter(
            "millrace_operator_reconciles",
            "Reconciles by controller and outcome (ok, requeue, retry, error)",
            ["controller", "outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "millrace_operator_reconcile_seconds",
            "Duration of a reconcile",
            ["controller"],
            registry=self.registry,
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self.depth = Gauge("millrace_operator_queue_depth", "Keys that wait for a worker", registry=self.registry)
        self.delayed = Gauge("millrace_operator_queue_delayed", "Keys that wait for their time", registry=self.registry)
        self.refused = Gauge(
            "millrace_operator_refused_lists",
            "1 while the API server refuses to list the kind in the namespace (empty: in all at once)",
            ["namespace", "kind"],
            registry=self.registry,
        )
        self.leading = Gauge(
            "millrace_operator_leading", "1 while this process holds the Lease", registry=self.registry
        )
