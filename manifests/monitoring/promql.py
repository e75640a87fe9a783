"""Queries that panels have in common."""

from __future__ import annotations

from manifests.monitoring.grafana import Panel


def rate(metric: str, labels: str, by: str) -> str:
    """Increase per second of a counter, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def quantile(share: float, metric: str, labels: str, by: str) -> str:
    """A quantile of a histogram, by labels."""
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', labels, f'{by}, le')})"


def mean(metric: str, labels: str, by: str) -> str:
    """The mean of what a histogram observed, by labels."""
    return f"{rate(f'{metric}_sum', labels, by)} / {rate(f'{metric}_count', labels, by)}"


def share(metric: str, part: str, labels: str, by: str) -> str:
    """The part of a counter that has some labels more, by labels."""
    return f"{rate(metric, f'{labels}, {part}', by)} / {rate(metric, labels, by)}"


def latency(title: str, metric: str, labels: str, by: str, legend: str, description: str = "") -> Panel:
    """Three quantiles of a histogram of seconds."""
    queries = {f"p{100 * q:g} {legend}": quantile(q, metric, labels, by) for q in (0.5, 0.95, 0.99)}
    return Panel(title, "s", queries, description)
