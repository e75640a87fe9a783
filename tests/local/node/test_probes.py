"""When probes run and what their results mean."""

from __future__ import annotations

from typing import Any

from millrace_local.node.probes import Probe, ProbeState, next_state, pause


def readiness(**spec: Any) -> Probe:
    return Probe.of("readiness", spec)


def probe_state_of(probe: Probe, answers: list[bool], step: float) -> ProbeState:
    probe_state = ProbeState(counted_at=probe.delay)
    for number, ok in enumerate(answers, start=1):
        probe_state = next_state(probe, probe_state, ok, number * step)
    return probe_state


def test_a_probe_passes_and_fails_after_its_thresholds() -> None:
    probe = readiness(periodSeconds=10, failureThreshold=2, successThreshold=2)
    assert probe_state_of(probe, [True], 10).passed is None
    assert probe_state_of(probe, [True, True], 10).passed is True
    assert probe_state_of(probe, [True, True, False], 10).passed is True
    assert probe_state_of(probe, [True, True, False, False], 10).passed is False
    assert probe_state_of(probe, [True, True, False, True, False], 10).passed is True


def test_frequent_probes_at_the_start_do_not_use_up_the_failures() -> None:
    probe = Probe.of("startup", {"periodSeconds": 1, "failureThreshold": 3, "httpGet": {}})
    assert pause(probe, ProbeState(), 0.5) == 0.1
    assert probe_state_of(probe, [False] * 29, 0.1).passed is None
    assert probe_state_of(probe, [False] * 32, 0.1).passed is False


def test_the_usual_period_applies_after_the_first_success_or_when_it_takes_too_long() -> None:
    probe = readiness(periodSeconds=5, httpGet={})
    assert pause(probe, probe_state_of(probe, [True], 1), 1.0) == 5
    assert pause(probe, ProbeState(), 31.0) == 5
    assert pause(readiness(periodSeconds=5, exec={}), ProbeState(), 1.0) == 0.5
    assert pause(Probe.of("liveness", {"periodSeconds": 5}), ProbeState(), 1.0) == 5
