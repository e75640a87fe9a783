"""The Experiments that the registry publishes, as the gateway assigns units and takes outcomes by them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments.assignment import Assignment, Slot

logger = logging.getLogger(__name__)

# In other phases units get the control.
ASSIGNING: Final = ("Running", "Holding", "Paused")

Name = tuple[str, str]


class _Read(BaseModel):
    """What is read of a document; the rest is not this module's."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class _Metadata(_Read):
    name: str
    namespace: str = "default"
    uid: str = ""


class _Arm(_Read):
    name: str
    control: bool = False


class _Override(_Read):
    header: str
    value: str
    arm: str


class _SpecAssignment(_Read):
    header: str = "x-user-id"


class _Source(_Read):
    outcome: str = ""
    denominator: str = ""
    covariate: str = ""


class _Metric(_Read):
    name: str
    kind: Literal["proportion", "mean", "ratio"] = "mean"
    source: _Source = _Source()


class _Spec(_Read):
    service: str = ""
    arms: tuple[_Arm, ...]
    overrides: tuple[_Override, ...] | None = None
    assignment: _SpecAssignment = _SpecAssignment()
    metrics: tuple[_Metric, ...] | None = None


class _Slot(_Read):
    arm: str
    start: int
    size: int


class _StatusAssignment(_Read):
    salt: str
    holdout: int = 0
    slots: tuple[_Slot, ...]


class _Status(_Read):
    phase: str = "Pending"
    weights: Mapping[str, int] = Field(default_factory=dict)
    epoch: int | None = None
    assignment: _StatusAssignment | None = None


class _Document(_Read):
    metadata: _Metadata
    spec: _Spec
    status: _Status = _Status()


@dataclass(frozen=True)
class OutcomeMetric:
    """A metric of outcomes.

    Attributes:
        outcome: name of the outcomes whose sum is the unit's value.
        denominator, covariate: names of the outcomes of its other value; empty: it has none.
    """

    name: str
    kind: Literal["proportion", "mean", "ratio"]
    outcome: str
    denominator: str = ""
    covariate: str = ""


@dataclass(frozen=True)
class PublishedExperiment:
    """One Experiment as it is just now.

    Attributes:
        uid: of the object; a rerun is another one, with sums of its own.
        epoch: number of the current one; None before the first.
        assignment: None before it became Ready.
        overridden: the arm by header and value.
        service: whose traffic is split.
        outcomes: names of outcomes that it takes.
    """

    namespace: str
    name: str
    uid: str
    phase: str
    control: str
    epoch: int | None
    header: str
    assignment: Assignment | None
    overridden: Mapping[tuple[str, str], str]
    metrics: tuple[OutcomeMetric, ...]
    service: str = ""
    outcomes: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        named = {name for each in self.metrics for name in (each.outcome, each.denominator, each.covariate) if name}
        object.__setattr__(self, "outcomes", frozenset(named))

    @property
    def identity(self) -> str:
        """What nothing else is called, whatever is deleted and made again."""
        return f"{self.namespace}/{self.name}/{self.uid}"

    @property
    def assigns(self) -> bool:
        """Whether units are given arms just now."""
        return self.phase in ASSIGNING and self.assignment is not None and self.epoch is not None

    @property
    def began(self) -> bool:
        """Whether units were ever given arms, so that outcomes may come."""
        return self.assignment is not None and self.epoch is not None


@dataclass(frozen=True)
class Experiments:
    """All that are published, by namespace and name.

    Attributes:
        broken: why one cannot be read.
        assigning: those that assign units just now, by namespace and service.
    """

    known: Mapping[Name, PublishedExperiment] = field(default_factory=dict)
    broken: Mapping[Name, str] = field(default_factory=dict)
    assigning: Mapping[Name, PublishedExperiment] = field(init=False)

    def __post_init__(self) -> None:
        found = {(each.namespace, each.service): each for each in self.known.values() if each.assigns}
        object.__setattr__(self, "assigning", found)

    def get(self, reference: str, namespace: str, field: str = "experiment") -> PublishedExperiment:
        """The experiment of a reference ``name``, or ``namespace/name``.

        Raises:
            NotFoundError: there is none.
            RejectError: it is there, but cannot be read.
        """
        before, slash, after = reference.partition("/")
        name = (before, after) if slash else (namespace, before)
        found = self.known.get(name)
        if found is not None:
            return found
        if name in self.broken:
            raise RejectError(
                f"the experiment {shown(reference, 130)} cannot be read: {self.broken[name]}", field=field
            )
        there = sorted(other for owner, other in self.known if owner == name[0])[:20]
        hint = f"There are {', '.join(there)}" if there else f"The namespace {shown(name[0], 70)} has no experiment"
        raise NotFoundError(f"there is no experiment {shown(reference, 130)}", hint=hint, field=field)


def experiments(body: bytes) -> Experiments:
    """Those of the registry's answer to ``GET /v1/definitions``; a document that is wrong spoils no other."""
    known: dict[Name, PublishedExperiment] = {}
    broken: dict[Name, str] = {}
    for document in orjson.loads(body).get("experiments") or ():
        try:
            found = _published(_Document.model_validate(document))
        except (ValidationError, StopIteration) as error:
            metadata = document.get("metadata") if isinstance(document, dict) else None
            if isinstance(metadata, dict):
                broken[str(metadata.get("namespace", "default")), str(metadata.get("name"))] = str(error)[:200]
            logger.warning("an experiment of the registry's answer cannot be read: %s", error)
            continue
        known[found.namespace, found.name] = found
    return Experiments(known, broken)


def _published(document: _Document) -> PublishedExperiment:
    metadata, spec, status = document.metadata, document.spec, document.status
    control = next(arm.name for arm in spec.arms if arm.control)
    assignment = None
    if status.assignment is not None:
        frozen = status.assignment
        slots = {slot.arm: Slot(slot.start, slot.size) for slot in frozen.slots}
        weights = {arm.name: status.weights.get(arm.name, 0) for arm in spec.arms}
        assignment = Assignment(frozen.salt, control, slots, weights, frozen.holdout)
    return PublishedExperiment(
        metadata.namespace,
        metadata.name,
        metadata.uid,
        status.phase,
        control,
        status.epoch,
        spec.assignment.header,
        assignment,
        {(each.header, each.value): each.arm for each in reversed(spec.overrides or ())},
        tuple(
            OutcomeMetric(each.name, each.kind, each.source.outcome, each.source.denominator, each.source.covariate)
            for each in spec.metrics or ()
            if each.source.outcome
        ),
        spec.service,
    )
