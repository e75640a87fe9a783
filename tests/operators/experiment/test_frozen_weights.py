"""While the control is not ready nothing moves the weights: not a step, a change of the spec, or another arm.

What a person commands does, and so does a deletion: they say where traffic has to go.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from millrace_core.api.experiment import Experiment, ExperimentStatus
from millrace_core.base import timestamps
from millrace_operators.experiment.decide import decide
from millrace_operators.experiment.observation import ArmTarget, Observation, ServiceObservation
from millrace_operators.experiment.types import TYPES
from millrace_operators.routing.state import Champion, LiveRoute, RouteObservation
from tests import builders
from tests.examples import examples
from tests.operators.experiment.life import START, Life, target

percent = st.integers(0, 100)
seconds = st.integers(0, 100_000)
moments = seconds.map(lambda ago: timestamps.render(START - timedelta(seconds=ago)))


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """A running or paused experiment of any type, at any point, whose control is not ready."""
    spec, steps = _spec(draw)
    stored = draw(percent)
    weights = {"control": 100 - stored, "challenger": stored}
    applied = {"applied": weights, "appliedAt": draw(moments)} if draw(st.booleans()) else {}
    unready_since = {"type": "TargetsReady", "status": draw(st.sampled_from(["True", "False"])), "reason": "R"}
    status: dict[str, Any] = {
        "phase": draw(st.sampled_from(["Running", "Paused"])),
        "startedAt": draw(moments),
        "stepStartedAt": draw(moments),
        "pausedAt": draw(moments),
        "weights": {"desired": weights, **applied},
        "conditions": [{**unready_since, "message": "", "lastTransitionTime": draw(moments)}],
        "handledCommand": "0:abort",
    }
    if steps:
        status |= {"steps": steps, "stepIndex": draw(st.integers(0, len(steps) - 1))}
    challenger = draw(st.sampled_from(["ready", "unready", "deleting", "gone", "unknown", "elsewhere"]))
    found = {
        "ready": ArmTarget(target("v2"), "shop"),
        "unready": ArmTarget(target("v2", ready=False), "shop"),
        "deleting": ArmTarget(replace(target("v2"), deleting=True), "shop"),
        "gone": ArmTarget(),
        "unknown": ArmTarget(unknown=True),
        "elsewhere": ArmTarget(target("v2"), "other"),
    }[challenger]
    return Observation(
        document={**spec, "metadata": {**spec["metadata"], "generation": 1}},
        spec=Experiment.model_validate(spec).spec,
        status=ExperimentStatus.model_validate(status),
        arms={"control": ArmTarget(target("v1", ready=False), "shop"), "challenger": found},
        now=START,
        command=draw(st.sampled_from(["", "0:abort", "1:pause", "1:resume", "1:fly", "1:promote nobody"])),
        deployments=("v1", "v2"),
        champion=Champion("v1"),
        fight=draw(st.booleans()),
    )


def _spec(draw: st.DrawFn) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    kind = draw(st.sampled_from(sorted(TYPES)))
    steps = [{"weight": weight, "hold": "1m"} for weight in sorted(draw(st.lists(percent, max_size=4)))]
    if kind == "Canary":
        steps = steps or [{"weight": 50, "hold": "1m"}]
        return builders.canary("e", "shop", "v1", "v2", steps).build(), steps
    arms = [
        {"name": "control", "deployment": "v1", "control": True},
        {"name": "challenger", "deployment": "v2", "weight": draw(percent)},
    ]
    return builders.experiment("e", "shop", "v1", "v2").having("spec.arms", arms).build(), steps


@settings(max_examples=examples(4))
@given(observations())
def test_no_verdict_moves_the_weights_while_the_control_is_not_ready(observation: Observation) -> None:
    live = [arm.target for arm in observation.arms.values() if arm.target and arm.service == "shop"]
    route = RouteObservation("shop", "default", live, LiveRoute(champion=Champion("v1")), START)
    [decision] = decide(ServiceObservation(route, (observation,))).experiments
    assert observation.status.weights is not None
    assert decision.status.weights is not None
    assert decision.split is not None
    before = observation.status.weights.desired or {}
    assert decision.status.phase in ("Running", "Paused")
    assert decision.status.weights.desired == before
    assert decision.split.weights == {"v1": before["control"], "v2": before["challenger"]}


events = st.one_of(
    st.tuples(st.just("v2 ready"), st.booleans()),
    st.tuples(st.just("v3 ready"), st.booleans()),
    st.tuples(st.just("weight"), percent),
    st.tuples(st.just("pause"), st.booleans()),
    st.tuples(st.just("v2 deleting"), st.just(True)),
    st.tuples(st.just("wait"), st.integers(1, 3000)),
)


def happen(life: Life, event: tuple[str, Any], number: int) -> None:
    what, value = event
    if what == "weight":
        life.document["spec"]["arms"][1]["weight"] = value
    elif what == "pause":
        life.command = f"{number}:{'pause' if value else 'resume'}"
    elif what == "v2 deleting":
        life.targets["v2"] = replace(life.targets["v2"], deleting=True)
    elif what != "wait":
        life.ready(what[:2], value)
    life.run(value if what == "wait" else 1)


@given(st.booleans(), st.lists(events, max_size=4), st.lists(events, min_size=1, max_size=8))
def test_the_route_holds_the_same_split_from_the_controls_last_to_its_next_ready_moment(
    ramp: bool, before: list[tuple[str, Any]], meanwhile: list[tuple[str, Any]]
) -> None:
    steps = [{"weight": 10, "hold": "5m"}, {"weight": 60, "hold": "5m"}]
    built = builders.experiment("ab", "shop", "v1", "v2")
    life = Life((built.having("spec.steps", steps) if ramp else built).build())
    life.run(60)
    for number, event in enumerate(before):
        happen(life, event, number)
    life.run(60)
    assume(life.phase in ("Running", "Paused"))
    split = life.routed
    life.ready("v1", False)
    for number, event in enumerate(meanwhile, len(before)):
        happen(life, event, number)
        assert (life.routed, life.phase in ("Running", "Paused")) == (split, True)
    life.ready("v1", True)
    life.run(60)
    assert sum(int(share.split(":")[1]) for share in life.routed.split()) == 100


def test_the_observations_can_be_decided_otherwise_once_the_control_is_ready() -> None:
    """That nothing moves is no accident of what is drawn: the same spec moves with a control that is ready."""
    life = Life(builders.experiment("ab", "shop", "v1", "v2").build())
    life.run(60)
    life.ready("v1", False)
    happen(life, ("weight", 50), 0)
    assert life.routed == "v1:80 v2:20"
    life.ready("v1", True)
    life.run(60)
    assert life.routed == "v1:50 v2:50"
