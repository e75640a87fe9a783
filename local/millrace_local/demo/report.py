"""The demo's last table: each figure beside its bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rich.table import Table

MAX_DIFFERENCE = 1e-6
# Chance alone exceeds 4 standard deviations in 1 of 15,000 runs.
SIGMAS = 4.0

FAILED = "requests failed"
SHARE = "share of boosting"
DIFFERENCE = "served against offline, largest difference"
SKEWED = "online values that differ from the training set"


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
    def failures(self) -> tuple[str, ...]:
        """The figures that are not what they have to be, as the table calls them."""
        held = {
            FAILED: self.failed == 0,
            SHARE: abs(self.measured_share - self.expected_share) <= self.split_tolerance,
            DIFFERENCE: self.difference <= MAX_DIFFERENCE,
            SKEWED: self.skewed == 0,
            self.recomputed: self.mismatched == 0 and self.verified > 0,
        }
        return tuple(name for name, holds in held.items() if not holds)

    @property
    def recomputed(self) -> str:
        """What the table calls the figure of the skew check."""
        return f"skew check: of {self.verified:,} values recomputed differ"


def table(figures: DemoFigures) -> Table:
    """The figures as a table for the terminal."""
    p50, p99 = np.percentile(figures.seconds, [50, 99]) * 1000 if figures.seconds else (float("nan"),) * 2
    drawn = Table(title="What the demo measured")
    for heading in ("figure", "measured", "has to be"):
        drawn.add_column(heading, justify="left" if heading == "figure" else "right")
    rows = [
        ("requests through the mesh", f"{figures.requests:,}", "2,000 or more"),
        (FAILED, f"{figures.failed}", "0"),
        (
            SHARE,
            f"{figures.measured_share:.1%}",
            f"{figures.expected_share:.0%} ± {figures.split_tolerance:.1%} (chance)",
        ),
        (DIFFERENCE, f"{figures.difference:.1e}", f"≤ {MAX_DIFFERENCE:.0e}"),
        (SKEWED, f"{figures.skewed}", "0"),
        (figures.recomputed, f"{figures.mismatched}", "0"),
        ("latency p50", f"{p50:.1f} ms", ""),
        ("latency p99", f"{p99:.1f} ms", ""),
    ]
    for row in rows:
        drawn.add_row(*row)
    return drawn
