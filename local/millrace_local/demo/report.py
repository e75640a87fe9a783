"""The demo's last table: each figure beside its bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

MAX_DIFFERENCE = 1e-6
# Chance alone exceeds 4 standard deviations in 1 of 15,000 runs.
SIGMAS = 4.0


@dataclass(frozen=True)
class DemoFigures:
    """The measured figures of one run."""

    requests: int
    failed: int
    expected_share: float
    measured_share: float
    difference: float
    seconds: tuple[float, ...]
    skewed: int
    verified: int
    mismatched: int

    @property
    def split_tolerance(self) -> float:
        """Largest deviation of the measured share that chance explains."""
        return SIGMAS * float(np.sqrt(self.expected_share * (1 - self.expected_share) / max(self.requests, 1)))

    @property
    def holds(self) -> bool:
        """Whether every figure is what it has to be."""
        return (
            self.failed == 0
            and self.difference <= MAX_DIFFERENCE
            and self.skewed == 0
            and self.mismatched == 0
            and self.verified > 0
            and abs(self.measured_share - self.expected_share) <= self.split_tolerance
        )


def table(figures: DemoFigures) -> Table:
    """The figures as a table for the terminal."""
    p50, p99 = np.percentile(figures.seconds, [50, 99]) * 1000 if figures.seconds else (float("nan"),) * 2
    drawn = Table(title="What the demo measured")
    for heading in ("figure", "measured", "has to be"):
        drawn.add_column(heading, justify="left" if heading == "figure" else "right")
    rows = [
        ("requests through the mesh", f"{figures.requests:,}", "2,000 or more"),
        ("requests failed", f"{figures.failed}", "0"),
        (
            "share of boosting",
            f"{figures.measured_share:.1%}",
            f"{figures.expected_share:.0%} ± {figures.split_tolerance:.1%} (chance)",
        ),
        ("served against offline, largest difference", f"{figures.difference:.1e}", f"≤ {MAX_DIFFERENCE:.0e}"),
        ("online values that differ from the training set", f"{figures.skewed}", "0"),
        (f"skew check: of {figures.verified:,} values recomputed differ", f"{figures.mismatched}", "0"),
        ("latency p50", f"{p50:.1f} ms", ""),
        ("latency p99", f"{p99:.1f} ms", ""),
    ]
    for row in rows:
        drawn.add_row(*row)
    return drawn
