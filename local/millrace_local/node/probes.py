"""Probes: when to look, and what a row of answers means. Pure; ``probing`` does the looking.

Until its first success, an HTTP or TCP probe looks ten times a second, so that a container is in use as soon as it can
be. Failures count only at the pace of ``periodSeconds``: nothing is given up sooner than on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from millrace_kube.resources import Object

Kind = Literal["startup", "readiness", "liveness"]

EAGER_SECONDS = 0.1
# Starting a command ten times a second would slow down what it waits for.
EAGER_COMMAND_SECONDS = 0.5
# Who is not there after so long is waited for at the usual pace.
EAGER_FOR_SECONDS = 30.0


@dataclass(frozen=True)
class Probe:
    """A probe's numbers; times in seconds."""

    kind: Kind
    delay: float
    period: float
    timeout: float
    successes: int
    failures: int
    eager: float

    @classmethod
    def of(cls, kind: Kind, spec: Object) -> Probe:
        """Reads a container's probe, with Kubernetes' defaults."""
        return cls(
            kind=kind,
            delay=spec.get("initialDelaySeconds") or 0,
            period=spec.get("periodSeconds") or 10,
            timeout=spec.get("timeoutSeconds") or 1,
            successes=spec.get("successThreshold") or 1,
            failures=spec.get("failureThreshold") or 3,
            eager=EAGER_COMMAND_SECONDS if spec.get("exec") is not None else EAGER_SECONDS,
        )


@dataclass(frozen=True)
class Row:
    """What a probe has said so far.

    Attributes:
        passed: its verdict; None while there is none.
        run: answers in a row that agree, positive for successes and negative for failures.
        succeeded: whether it ever succeeded.
        counted_at: when a failure was last counted.
    """

    passed: bool | None = None
    run: int = 0
    succeeded: bool = False
    counted_at: float = float("-inf")


def after(probe: Probe, row: Row, ok: bool, at: float) -> Row:
    """The row with one more answer, given ``at`` seconds after the container's start."""
    if ok:
        run = max(0, row.run) + 1
        passed = True if run >= probe.successes else row.passed
        return Row(passed, run, succeeded=True, counted_at=row.counted_at)
    # A hair less than the period: timers are not exact.
    if at - row.counted_at < probe.period * 0.99:
        return replace(row, run=min(0, row.run))
    run = min(0, row.run) - 1
    return Row(False if -run >= probe.failures else row.passed, run, row.succeeded, at)


def pause(probe: Probe, row: Row, at: float) -> float:
    """Seconds until the next look."""
    waiting = not row.succeeded or (probe.kind != "liveness" and row.passed is None)
    eager = probe.kind != "liveness" and waiting and at - probe.delay < EAGER_FOR_SECONDS
    return min(probe.eager, probe.period) if eager else probe.period
