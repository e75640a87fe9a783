"""Experiment: split live traffic of a service between deployments, step by step, and take it back or promote."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from millrace_core.api import experiment_types
from millrace_core.api.base import (
    ATOMIC_LIST,
    ApiModel,
    Condition,
    DnsLabel,
    Duration,
    Moment,
    ObjectMeta,
    Rule,
    StatusModel,
    list_map,
)
from millrace_core.api.experiment_assignment import HEADER, Assignment, AssignmentStatus
from millrace_core.api.experiment_bandit import Bandit, BanditStatus
from millrace_core.api.experiment_history import Epoch, FinalDecision
from millrace_core.api.experiment_metrics import (
    MAX_METRICS,
    Analysis,
    AnalysisStatus,
    ArmStatus,
    Metric,
    PlanStatus,
)
from millrace_core.api.modeldeployment import MAX_SERVICE, SERVICE
from millrace_core.api.rollout import BlueGreen, OnSuccess

MAX_STEPS = 20

Phase = Literal[
    "Pending",
    "Ready",
    "Running",
    "Holding",
    "Paused",
    "Promoting",
    "RollingBack",
    "Succeeded",
    "Failed",
    "Inconclusive",
]
TERMINAL: tuple[Phase, ...] = ("Succeeded", "Failed", "Inconclusive")

# CEL: nothing is frozen yet, and the steps that have been taken are those of the status.
_UNBEGUN = "!has(oldSelf.status) || !has(oldSelf.status.definition)"
_PRIMARY = "(has({0}.spec.metrics) ? {0}.spec.metrics.filter(m, m.role == 'primary') : [])"
_STEPS_TAKEN = (
    f"{list(range(MAX_STEPS))}.all(i, i > oldSelf.status.stepIndex || i < self.spec.steps.size() && "
    "self.spec.steps[i].weight == oldSelf.status.steps[i].weight && "
    "self.spec.steps[i].hold == oldSelf.status.steps[i].hold)"
)

Percent = Annotated[int, Field(ge=0, le=100)]


class Arm(ApiModel):
    """One of the deployments that are compared."""

    name: DnsLabel = Field(description="Name of the arm, unique in the experiment.")
    deployment: DnsLabel = Field(description="ModelDeployment of the same namespace and service.")
    control: bool = Field(
        default=False,
        description="Whether this is the control. Exactly one arm is; it takes the traffic that is left.",
    )
    weight: Percent | None = Field(
        default=None,
        description="Percentage of traffic, of a challenger; with steps, its share among challengers.",
    )


class Routing(ApiModel):
    """How the split reaches the mesh."""

    settle: Duration = Field(
        default="5s",
        description="How long a change takes to reach every proxy: waited between subsets and routes, and after each "
        "weight change before its hold begins.",
    )


class Override(ApiModel):
    """Requests with this header value go to this arm, whatever the weights."""

    header: Annotated[str, Field(pattern=HEADER, max_length=128)] = Field(description="Header name, in lower case.")
    value: Annotated[str, Field(min_length=1, max_length=256)] = Field(description="Exact header value.")
    arm: DnsLabel = Field(description="Arm that takes the request.")


class Step(ApiModel):
    """One step of a ramp."""

    weight: Percent = Field(
        description="Percentage of traffic of all challengers together; of a Shadow, of the requests that are copied."
    )
    hold: Duration = Field(default="0s", description="How long the step lasts, counted after settle.")


class ExperimentSpec(ApiModel):
    """Desired state of the experiment."""

    description: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="What is tried and why, for people who search the registry."
    )
    owner: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="Team or person that is responsible for it; the registry searches by it."
    )
    tags: dict[str, Annotated[str, Field(max_length=253)]] | None = Field(
        default=None, max_length=32, description="Free labels; the registry searches by them."
    )
    type: str = Field(
        description=experiment_types.description(), json_schema_extra={"enum": list(experiment_types.NAMES)}
    )
    service: Annotated[str, Field(pattern=SERVICE, max_length=MAX_SERVICE)] = Field(
        description="Service whose traffic is split."
    )
    arms: list[Arm] = Field(
        min_length=2,
        max_length=10,
        description="The deployments that are compared; frozen once the experiment is Ready, but for the weights. A "
        "new revision of one opens an epoch.",
        json_schema_extra=list_map("name"),
    )
    assignment: Assignment = Field(
        default_factory=Assignment,
        json_schema_extra={"default": {}},
        description="How units are given arms; frozen once the experiment is Ready.",
    )
    routing: Routing = Field(
        default_factory=Routing, json_schema_extra={"default": {}}, description="How the split reaches the mesh."
    )
    overrides: list[Override] | None = Field(
        default=None,
        max_length=16,
        description="Requests that go to a given arm, first match wins.",
        json_schema_extra=ATOMIC_LIST,
    )
    steps: list[Step] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_STEPS,
        description="The ramp. Once the experiment is Ready, the steps up to the current one are frozen; those still "
        "ahead may be changed. A Canary without steps takes 5, 25, 50 (10m each) and 100; after the last one, whatever "
        "its weight, it is promoted. A Shadow without steps copies 5 and 25 percent (10m each) and 100 (1h), and ends "
        "after the last one.",
        json_schema_extra=ATOMIC_LIST,
    )
    blue_green: BlueGreen | None = Field(
        default=None,
        description="Of a BlueGreen: how long is previewed, and how long is kept; frozen once the experiment is Ready.",
    )
    bandit: Bandit | None = Field(
        default=None,
        description="Of a Bandit: how its weights follow what units do. May be changed while it runs; the next "
        "reweighting goes by it.",
    )
    metrics: list[Metric] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_METRICS,
        description="What is looked at while it runs, for each challenger with traffic. The primary one is frozen once "
        "the experiment is Ready; others may be changed, and the next look is at the new ones.",
        json_schema_extra=list_map("name"),
    )
    analysis: Analysis | None = Field(
        default=None, description="How often the metrics are looked at, and how patiently. Default: every 60s."
    )
    on_success: OnSuccess = Field(
        default="Promote",
        description="What happens when an arm is to be promoted: Promote, or Pause until a promote or abort command. "
        "The promote command itself always promotes. A BlueGreen waits before the flip, and not after it.",
    )
    on_failure: Literal["Rollback", "Pause"] = Field(
        default="Rollback",
        description="What happens when a guardrail is beyond its limit, or the primary metric worse: Rollback, or "
        "Pause, with the weights as they are, until a command.",
    )
    on_inconclusive: Literal["Pause", "KeepControl"] = Field(
        default="Pause",
        description="What happens when the planned units, or maxRuntime, are over and nothing was found: Pause, until "
        "a command, or KeepControl, which ends it with all traffic at the control.",
    )

    rules: ClassVar = (
        Rule(
            "self.arms.filter(a, a.control).size() == 1",
            "spec.arms must hold exactly one arm with control: true",
        ),
        Rule(
            "self.arms.all(a, !a.control || !has(a.weight))",
            "the control takes the traffic that is left, so it has no weight; remove its weight",
        ),
        Rule(
            "self.arms.map(a, has(a.weight) ? a.weight : 0).sum() <= 100",
            "the challengers' weights must not sum to more than 100",
        ),
        *experiment_types.rules(),
        Rule("self.type == 'BlueGreen' || !has(self.blueGreen)", "spec.blueGreen needs spec.type BlueGreen"),
        Rule("self.type == 'Bandit' || !has(self.bandit)", "spec.bandit needs spec.type Bandit"),
        Rule(
            "self.type == 'Shadow' || !has(self.metrics) || self.metrics.all(m, !has(m.source.comparison))",
            "a comparison needs spec.type Shadow: only there two deployments get the same requests",
        ),
        Rule(
            "!has(self.metrics) || self.metrics.filter(m, m.role == 'primary').size() <= 1",
            "at most one of spec.metrics may have the role primary: one number decides",
        ),
        Rule(
            "!has(self.steps) || self.steps.map(s, s.weight).isSorted()",
            "the weights of spec.steps must not fall: a ramp never takes a user back",
        ),
        Rule(
            "!has(self.analysis) || has(self.metrics)", "spec.analysis needs spec.metrics: there is nothing to look at"
        ),
        Rule(
            "!has(self.overrides) || self.overrides.all(o, self.arms.exists(a, a.name == o.arm))",
            "each spec.overrides[].arm must name one of spec.arms",
        ),
        Rule(
            "self.arms.all(a, self.arms.exists_one(b, b.deployment == a.deployment))",
            "two arms must not name the same deployment",
        ),
    )


class Weights(StatusModel):
    """Traffic split in percent, by arm."""

    desired: dict[str, int] | None = Field(default=None, description="What is wanted now; sums to 100.")
    applied: dict[str, int] | None = Field(default=None, description="What the route holds; sums to 100.")
    applied_at: Moment | None = Field(
        default=None, description="Since when the route holds what is wanted; absent while it is being changed."
    )
    mirrored: dict[str, int] | None = Field(
        default=None, description="Of a Shadow: percent of the requests that are to be copied, by arm."
    )


class FrozenStep(StatusModel):
    """A step as it was resolved at the start."""

    weight: int = Field(description="Percentage of traffic of all challengers together.")
    hold: str = Field(description="How long the step lasts, counted after settle.")


class ExperimentStatus(StatusModel):
    """What was observed and decided."""

    observed_generation: int | None = Field(
        default=None, description="The metadata.generation that this status describes."
    )
    phase: str | None = Field(
        default=None,
        description="Pending, Ready, Running, Holding (a guardrail has no data), Paused, Promoting, RollingBack, "
        "Succeeded, Failed or Inconclusive.",
    )
    started_at: Moment | None = Field(default=None, description="When traffic was first split.")
    definition: str | None = Field(
        default=None,
        description="What the results compare: digest of type, service and arms, frozen when it became Ready.",
    )
    assignment: AssignmentStatus | None = Field(
        default=None, description="Salt and slots of the assignment, frozen when it became Ready."
    )
    finished_at: Moment | None = Field(default=None, description="When the experiment reached its end.")
    steps: list[FrozenStep] | None = Field(
        default=None,
        max_length=MAX_STEPS,
        description="The ramp: frozen up to the current step, as the spec has it from there on.",
        json_schema_extra=ATOMIC_LIST,
    )
    step_index: int | None = Field(default=None, description="The current step, counted from 0.")
    step_started_at: Moment | None = Field(default=None, description="When the current step was applied.")
    paused_at: Moment | None = Field(default=None, description="When the current pause began.")
    challenger_unready_since: Moment | None = Field(
        default=None,
        description="Since when a challenger of a Running experiment is not ready while its control is; absent where "
        "all are. Any type but an ABTest or a Bandit is rolled back after 10 minutes.",
    )
    handled_command: str | None = Field(default=None, description="The last handled millrace.dev/command, as written.")
    command_result: str | None = Field(default=None, description="What became of that command.")
    weights: Weights | None = Field(default=None, description="The traffic split.")
    epochs: list[Epoch] | None = Field(
        default=None,
        max_length=100,
        description="Stretches of constant weights, ramp and revisions, oldest first.",
        json_schema_extra=ATOMIC_LIST,
    )
    analysis: AnalysisStatus | None = Field(default=None, description="The last look at the metrics.")
    plan: PlanStatus | None = Field(
        default=None, description="What the primary metric needs; frozen when the experiment became Ready."
    )
    bandit: BanditStatus | None = Field(
        default=None, description="Of a Bandit: the last reweighting; absent before the first."
    )
    arms: list[ArmStatus] | None = Field(
        default=None,
        max_length=10,
        description="What the units of each arm have done so far, by the primary metric.",
        json_schema_extra=list_map("name"),
    )
    days_left: int | None = Field(
        default=None, description="Days until the planned units have come, at the pace so far, within the runtimes."
    )
    summary: str | None = Field(default=None, description="Where an experiment with metrics stands, in one sentence.")
    health: str | None = Field(
        default=None,
        description="Of an experiment with metrics, while it runs: healthy, no data, guardrail, sample ratio, or "
        "waiting for the first look.",
    )
    decision: FinalDecision | None = Field(default=None, description="How the experiment ended, and why.")
    conditions: list[Condition] | None = Field(
        default=None,
        max_length=16,
        description="Accepted, TargetsReady, RouteProgrammed, Completed and Ready; with metrics MetricsAvailable and "
        "GuardrailsOK, with a primary one SampleRatioOK; FactsAvailable once one failed.",
        json_schema_extra=list_map("type"),
    )


class Experiment(ApiModel):
    """A traffic split between deployments of one service: an A/B test, a canary or a flip."""

    api_version: str = "millrace.dev/v1alpha1"
    kind: Literal["Experiment"] = "Experiment"
    metadata: ObjectMeta
    spec: ExperimentSpec = Field(description="Desired state of the experiment.")
    status: ExperimentStatus | None = Field(default=None, description="What was observed and decided.")

    rules: ClassVar = (
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must have at most 63 characters, because it is written to labels; choose a shorter one",
        ),
        Rule(
            f"{_UNBEGUN} || ("
            "self.spec.type == oldSelf.spec.type && self.spec.service == oldSelf.spec.service && "
            "self.spec.arms.size() == oldSelf.spec.arms.size() && "
            "self.spec.arms.all(a, oldSelf.spec.arms.exists(o, o.name == a.name && o.deployment == a.deployment && "
            "o.control == a.control)))",
            "type, service and arms are frozen once the experiment is Ready; of arms only weights may change. "
            "A rerun is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || self.spec.assignment == oldSelf.spec.assignment",
            "spec.assignment is frozen once the experiment is Ready, or units would change arms; a rerun with another "
            "one is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || has(self.spec.blueGreen) == has(oldSelf.spec.blueGreen) && "
            "(!has(self.spec.blueGreen) || self.spec.blueGreen == oldSelf.spec.blueGreen)",
            "spec.blueGreen is frozen once the experiment is Ready. Flip, end or pause it by a command; a rerun with "
            "other times is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || {_PRIMARY.format('self')} == {_PRIMARY.format('oldSelf')}",
            "the primary metric is frozen once the experiment is Ready, since its size was planned. A rerun with "
            "another is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || !has(oldSelf.status.plan) || has(self.spec.analysis) == has(oldSelf.spec.analysis) && "
            "(!has(self.spec.analysis) || self.spec.analysis.method == oldSelf.spec.analysis.method && "
            "self.spec.analysis.alpha == oldSelf.spec.analysis.alpha && "
            "self.spec.analysis.power == oldSelf.spec.analysis.power && "
            "self.spec.analysis.srm == oldSelf.spec.analysis.srm)",
            "method, alpha, power and srm of spec.analysis are frozen in status.plan, as is whether there is one; a "
            "rerun with others is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || (has(self.spec.steps) ? "
            "has(oldSelf.spec.steps) && self.spec.steps == oldSelf.spec.steps || "
            f"has(oldSelf.status.steps) && {_STEPS_TAKEN} : !has(oldSelf.spec.steps))",
            "the steps up to the current one, status.stepIndex, are frozen in status.steps; only those still ahead may "
            "be changed. Pause or end it by a command; a rerun with other steps is a new object",
        ),
        Rule(
            f"{_UNBEGUN} || !has(self.spec.steps) || !has(oldSelf.spec.steps) || self.spec.steps == oldSelf.spec.steps "
            "|| oldSelf.status.phase in ['Ready', 'Running', 'Holding', 'Paused']",
            "no step is ahead any more: the experiment is ending or over. A rerun with other steps is a new object",
        ),
    )
