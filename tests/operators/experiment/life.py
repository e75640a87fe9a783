"""A whole life of an Experiment on a clock of its own: the state machine, the route and the settle times, no cluster.

What is kept between two turns is what a cluster would keep: the status as JSON, and the objects of the route.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from millrace_core.api.experiment import TERMINAL, Experiment, ExperimentStatus
from millrace_core.api.loading import load_object
from millrace_kube.writes import WriteStatus
from millrace_operators.experiment.decide import decide
from millrace_operators.experiment.looks import fact_requests
from millrace_operators.experiment.observation import ArmTarget, Observation, ServiceObservation
from millrace_operators.experiment.types import type_of
from millrace_operators.experiment.writes import report
from millrace_operators.facts.fact import NO_FACTS, Fact, FactRequest, Facts
from millrace_operators.routing.champion import desired_route
from millrace_operators.routing.observe import read_live
from millrace_operators.routing.state import RouteChanges, RouteObservation, RouteTarget
from tests.operators.routing.applying import applied, next_changes

START = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = {
    ("Service", "shop"): "stable",
    ("Service", "shop-arms"): "arms",
    ("Service", "shop-preview"): "preview",
    ("DestinationRule", "shop"): "rule",
}
HELD = ("stable", "arms", "rule", "virtual", "preview")


def target(name: str, *, ready: bool = True) -> RouteTarget:
    return RouteTarget(name, f"uid-{name}", f"2026-01-0{name[-1]}T00:00:00Z", f"{name}-aaaaaaaa", ready=ready)


class Life:
    """One Experiment on the service ``shop`` with the deployments v1 (champion), v2 and v3."""

    def __init__(self, spec: dict[str, Any], *, mesh: bool = True) -> None:
        self.now = START
        self.document: dict[str, Any] = {**spec, "metadata": {**spec["metadata"], "generation": 1}}
        self.targets = {name: target(name) for name in ("v1", "v2", "v3")}
        self.live = read_live(mesh=mesh, now=START)
        self.command = ""
        self.deleting = False
        self.blocker = ""
        self.elsewhere: set[str] = set()
        # Deployments that the cache lacks while nobody says whether they are gone.
        self.unknown: set[str] = set()
        self.facts = NO_FACTS
        # What the sources of metrics answer; None: they are not asked.
        self.measure: Callable[[FactRequest[Any]], Fact[Any]] | None = None
        self.log: list[tuple[str, str, str]] = []
        self.moves: list[str] = []
        self._wake: datetime | None = None
        self._last: dict[str, Any] = {}
        # The service stands before the Experiment comes.
        self._program(None)

    @property
    def status(self) -> ExperimentStatus:
        return ExperimentStatus.model_validate(self.document.get("status") or {})

    @property
    def phase(self) -> str | None:
        return self.status.phase

    @property
    def routed(self) -> str:
        """The split that the VirtualService holds, such as ``v1:80 v2:20``; the champion's alone is one of 100."""
        if self.live.virtual is None:
            return ""
        shares = self.live.virtual["spec"]["http"][-1]["route"]
        return " ".join(f"{share['destination']['subset']}:{share['weight']}" for share in shares)

    @property
    def champion(self) -> str:
        return self.live.champion.name

    @property
    def wakes_after(self) -> timedelta | None:
        """How long after now the next look is due."""
        return self._wake - self.now if self._wake is not None else None

    def condition(self, kind: str) -> str:
        found = next(item for item in self.document["status"]["conditions"] if item["type"] == kind)
        return f"{found['status']} {found['reason']}"

    def message(self, kind: str) -> str:
        found = next(item for item in self.document["status"]["conditions"] if item["type"] == kind)
        return str(found["message"])

    def turn(self) -> bool:
        """One reconcile; whether anything changed."""
        before = (self.document.get("status"), self.live)
        self._look()
        parsed = load_object(self.document)
        assert isinstance(parsed, Experiment)
        decided = decide(ServiceObservation(self._route(), (self._observe(parsed),)))
        [decision] = decided.experiments
        self._write(decided.changes)
        outcome = next(write for write in report(decided, None) if isinstance(write, WriteStatus))
        self.document = {**self.document, "status": dict(outcome.status)}
        if not self.moves or self.moves[-1] != decision.verdict.reason:
            self.moves.append(decision.verdict.reason)
        self._note()
        self._wake = decided.next_look
        return (self.document["status"], self.live) != before

    def rest(self) -> None:
        """Turns until nothing changes without time going on."""
        for _ in range(20):
            if not self.turn():
                assert self._wake is None or self._wake > self.now, f"{self.moves[-1]}: a turn at once, in vain"
                return
        raise AssertionError(f"no rest: {self.log[-5:]}, {self.moves[-5:]}")

    def run(self, seconds: float, *, turns_at: tuple[float, ...] = ()) -> None:
        """Lets time pass, with turns when they are due, and at other times from now where ``turns_at`` says so."""
        began, extra = self.now, sorted(turns_at)
        end = began + timedelta(seconds=seconds)
        self.rest()
        while True:
            due = [began + timedelta(seconds=at) for at in extra if began + timedelta(seconds=at) > self.now]
            due += [self._wake] if self._wake is not None and self._wake > self.now else []
            if not due or min(due) > end:
                break
            self.now = min(due)
            self.rest()
        self.now = end
        self.rest()

    def finish(self) -> None:
        """Runs to the end, which must come within a day."""
        self.run(86400)
        assert self.phase in TERMINAL, self.phase

    def ready(self, name: str, ready: bool) -> None:
        self.targets[name] = replace(self.targets[name], ready=ready)

    def _observe(self, parsed: Experiment) -> Observation:
        arms = {
            arm.name: ArmTarget(unknown=True)
            if arm.deployment in self.unknown
            else ArmTarget(self.targets.get(arm.deployment), "other" if arm.deployment in self.elsewhere else "shop")
            for arm in parsed.spec.arms
        }
        observation = Observation(
            document=self.document,
            spec=parsed.spec,
            status=parsed.status or ExperimentStatus(),
            arms=arms,
            now=self.now,
            command=self.command,
            deleting=self.deleting,
            deployments=tuple(target.name for target in self._targets()),
            champion=self.live.champion,
            blocker=self.blocker,
            mesh=self.live.mesh,
            fight=self.live.calm_at is not None,
            facts=self.facts,
            missing=self.facts.missing(type_of(parsed.spec.type).facts(parsed)),
        )
        looks = tuple(fact_requests(observation).values())
        measured = {request: self.measure(request) for request in looks} if self.measure else {}
        return replace(observation, looks=looks, facts=Facts({**self.facts.gathered, **measured}))

    def _route(self) -> RouteObservation:
        unknown = frozenset(self.unknown)
        return RouteObservation("shop", "default", self._targets(), self.live, self.now, unknown=unknown)

    def _targets(self) -> list[RouteTarget]:
        return [target for name, target in self.targets.items() if name not in self.unknown]

    def _program(self, split: Any) -> datetime | None:
        changes = next_changes(desired_route(self._route(), split), self.live, self.now)
        self._write(changes)
        return changes.again_at

    def _write(self, changes: RouteChanges) -> None:
        held = {name: getattr(self.live, name) for name in HELD}
        for item in changes.delete:
            held[FIELDS.get((item["kind"], item["metadata"]["name"]), "virtual")] = None
        for item in changes.apply:
            field = FIELDS.get((item["kind"], item["metadata"]["name"]), "virtual")
            held[field], self._last[field] = applied(held[field], item, self._last.get(field)), copy.deepcopy(item)
        self._look(held)

    def _look(self, written: dict[str, Any] | None = None) -> None:
        """Reads the route as it is now."""
        held = {name: getattr(self.live, name) for name in HELD}
        self.live = read_live(**{**held, **(written or {})}, mesh=self.live.mesh, now=self.now)

    def _note(self) -> None:
        """Keeps where each instant ended, where that is not where the last one did."""
        entry = (str(self.now - START), str(self.phase), self.routed)
        if self.log and self.log[-1][0] == entry[0]:
            self.log.pop()
        if not self.log or self.log[-1][1:] != entry[1:]:
            self.log.append(entry)
