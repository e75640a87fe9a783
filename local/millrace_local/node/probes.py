"""When to probe, and what the results mean. Pure; ``probing`` performs the probes.

Until its first success an HTTP or TCP probe runs ten times a second, so that a container is ready as soon as it can be.
Failures count only once per ``periodSeconds``, so nothing is given up sooner than on a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from millrace_kube.resources import Object

Kind = Literal["startup", "readiness", "liveness"]

EAGER_SECONDS = 0.1
# Starting a command ten times a second would slow down the container it waits for.
EAGER_COMMAND_SECONDS = 0.5
# After this long without success, probes go on at the usual period.
EAGER_FOR_SECONDS = 30.0


@dataclass(frozen=True)
class Probe:
    """The numbers of a probe; times in seconds."""

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
class ProbeState:
    """The results of a probe so far.

    Attributes:
        passed: whether it passes; None while that is undecided.
        streak: equal results in a row, positive for successes and negative for failures.
        succeeded: whether it ever succeeded.
        counted_at: when a failure was last counted.
    """

    passed: bool | None = None
    streak: int = 0
    succeeded: bool = False
    counted_at: float = float("-inf")


def next_state(probe: Probe, probe_state: ProbeState, ok: bool, at: float) -> ProbeState:
    """The state after one more result, ``at`` seconds after the container's start."""
    if ok:
        streak = max(0, probe_state.streak) + 1
        passed = True if streak >= probe.successes else probe_state.passed
        return ProbeState(passed, streak, succeeded=True, counted_at=probe_state.counted_at)
    # Slightly less than the period, since timers are not exact.
    if at - probe_state.counted_at < probe.period * 0.99:
        return replace(probe_state, streak=min(0, probe_state.streak))
    streak = min(0, probe_state.streak) - 1
    return ProbeState(False if -streak >= probe.failures else probe_state.passed, streak, probe_state.succeeded, at)


def pause(probe: Probe, probe_state: ProbeState, at: float) -> float:
    """Seconds until the next attempt."""
    waiting = not probe_state.succeeded or (probe.kind != "liveness" and probe_state.passed is None)
    eager = probe.kind != "liveness" and waiting and at - probe.delay < EAGER_FOR_SECONDS
    return min(probe.eager, probe.period) if eager else probe.period
