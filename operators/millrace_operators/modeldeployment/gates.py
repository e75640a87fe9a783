"""Whether the revision that the spec asks for may get pods and traffic, as its gates have it. Pure.

A judgement counts once it stands in the status: there it is found after a restart, with the digest that was judged, and
the revision's pods are held to that digest. It is about a revision and the gates as they were; an edit of the gates
judges again, and going back to a revision that has passed them does not. A Job that ends without a judgement is made
again a few times; a judgement that is Inconclusive holds like one that failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from millrace_core.api import names
from millrace_core.api.gates import Gates
from millrace_core.base import timestamps
from millrace_operators.modeldeployment.command import RUN_GATES, SKIP_GATES, CommandRequest
from millrace_operators.modeldeployment.gate_runs import GateRun
from millrace_operators.modeldeployment.pods import Failure

PASS: Final = "Pass"  # noqa: S105 a verdict
FAIL: Final = "Fail"
INCONCLUSIVE: Final = "Inconclusive"
RUNNING: Final = "Running"
SKIPPED: Final = "Skipped"

# Jobs that end without a judgement, and how long after each the next is made.
ATTEMPTS: Final = 3
RETRY: Final = timedelta(minutes=10)
# Revisions that are remembered as passed.
_REMEMBERED: Final = 6

Record = Mapping[str, Any]


@dataclass(frozen=True)
class GateDecision:
    """What becomes of the target.

    Attributes:
        record: ``status.gates``; None: the spec has no gates.
        opens: whether the target may get pods, if it has none that serve already.
        start: name of the Job that has to be there; empty: none.
        superfluous: names of Jobs that have to go.
        failure: why there is no judgement, or what its Job waits for.
        wake: when to look again, though nobody tells of anything.
    """

    record: Record | None = None
    opens: bool = True
    start: str = ""
    superfluous: tuple[str, ...] = ()
    failure: Failure | None = None
    wake: datetime | None = None


@dataclass(frozen=True)
class Judged:
    """What is judged: a revision of the object with this uid, by these gates."""

    deployment: str
    uid: str
    revision: str
    gates: Gates

    @property
    def spec(self) -> str:
        """Digest of the gates."""
        return names.digest(self.gates.model_dump(by_alias=True, exclude_none=True))[:16]

    def job(self, command: str, attempt: int) -> str:
        """Name of the Job that judges it; the same whenever it is asked for."""
        return names.gate_job(self.deployment, [self.uid, self.revision, self.spec, command, attempt])


@dataclass(frozen=True)
class _Turn:
    """What a decision looks at."""

    judged: Judged
    kept: Record
    runs: Mapping[str, GateRun]
    command: CommandRequest
    now: datetime

    @property
    def about(self) -> dict[str, Any]:
        """What every record says."""
        return {
            "revision": self.judged.revision,
            "spec": self.judged.spec,
            "passed": list(self.kept.get("passed") or ()),
        }


def decide(
    judged: Judged | None, kept: Record, runs: Sequence[GateRun], command: CommandRequest, now: datetime
) -> GateDecision:
    """The decision of one turn.

    Args:
        judged: None: the spec has no gates.
        kept: ``status.gates`` as it is stored.
        runs: the Jobs that there are.
        command: one that is not handled yet.
    """
    if judged is None:
        return GateDecision(superfluous=tuple(run.name for run in runs))
    turn = _Turn(judged, kept, {run.name: run for run in runs}, command, now)
    return _skipped(turn) or _asked_again(turn) or _kept(turn) or _passed_before(turn) or _judge(turn, "", 1)


def record_of(kept: Record, judged: Judged) -> Record | None:
    """What is kept of this very judgement."""
    return kept if (kept.get("revision"), kept.get("spec")) == (judged.revision, judged.spec) else None


def opens(record: Record | None) -> bool:
    """Whether a stored record lets traffic in."""
    return record is not None and record.get("verdict") in (PASS, SKIPPED)


def _skipped(turn: _Turn) -> GateDecision | None:
    if turn.command.verb != SKIP_GATES:
        return None
    record = {
        **turn.about,
        "verdict": SKIPPED,
        "command": turn.command.text,
        "judgedAt": _time(turn.now),
        "message": f"the command {turn.command.text!r} lets {turn.judged.revision} through unjudged",
    }
    return _settled(turn, record)


def _asked_again(turn: _Turn) -> GateDecision | None:
    return _judge(turn, turn.command.text, 1) if turn.command.verb == RUN_GATES else None


def _kept(turn: _Turn) -> GateDecision | None:
    record = record_of(turn.kept, turn.judged)
    if record is None:
        return None
    command, attempt = str(record.get("command") or ""), int(record.get("attempt") or 1)
    if record.get("verdict") == RUNNING:
        return _judge(turn, command, attempt)
    if record.get("verdict") == INCONCLUSIVE and record.get("reason") and attempt < ATTEMPTS:
        due = timestamps.parse(str(record["judgedAt"])) + RETRY
        if due <= turn.now:
            return _judge(turn, command, attempt + 1)
        return _settled(turn, record, wake=due)
    return _settled(turn, record)


def _passed_before(turn: _Turn) -> GateDecision | None:
    judged = turn.judged
    for entry in turn.about["passed"]:
        if (entry.get("revision"), entry.get("spec")) == (judged.revision, judged.spec):
            message = f"{judged.revision} has passed these gates before"
            figures = {name: entry[name] for name in ("digest", "bytes") if name in entry}
            return _settled(turn, {**turn.about, "verdict": PASS, "message": message, **figures})
    return None


def _judge(turn: _Turn, command: str, attempt: int) -> GateDecision:
    """The Job is made, waited for, or read."""
    name = turn.judged.job(command, attempt)
    run = turn.runs.get(name)
    others = tuple(each for each in turn.runs if each != name)
    base = {**turn.about, "job": name, "attempt": attempt, **({"command": command} if command else {})}
    if run is None or not run.ended:
        record = {**base, "verdict": RUNNING, "message": f"the Job {name} judges {turn.judged.revision}"}
        wake, failure = (run.wake, run.failure) if run else (None, None)
        return GateDecision(record, opens=False, start=name, superfluous=others, wake=wake, failure=failure)
    if run.result is None:
        failure = run.failure or Failure("JobFailed", "it left no message")
        again = attempt < ATTEMPTS
        record = {
            **base,
            "verdict": INCONCLUSIVE,
            "reason": failure.reason,
            "judgedAt": _time(turn.now),
            "message": f"the Job {name} ended without a judgement: {failure.message}",
        }
        wake = turn.now + RETRY if again else None
        return GateDecision(record, opens=False, superfluous=others, wake=wake, failure=failure)
    return GateDecision(_of_result(turn, base, run.result), opens=False, superfluous=others)


def _of_result(turn: _Turn, base: Record, result: Record) -> Record:
    figures = {name: result[name] for name in ("digest", "bytes", "rows", "champion") if result.get(name) is not None}
    verdict = result["verdict"] if result["verdict"] in (PASS, FAIL) else INCONCLUSIVE
    passed = [each for each in turn.about["passed"] if each.get("revision") != turn.judged.revision]
    if verdict == PASS:
        known = {"revision": turn.judged.revision, "spec": turn.judged.spec, "digest": result.get("digest", "")}
        passed.append({**known, **({"bytes": result["bytes"]} if "bytes" in result else {})})
    return {
        **base,
        **figures,
        "verdict": verdict,
        "judgedAt": _time(turn.now),
        "rules": list(result["rules"]),
        "passed": passed[-_REMEMBERED:],
    }


def _settled(turn: _Turn, record: Record, *, wake: datetime | None = None) -> GateDecision:
    """A record that stands; it opens once it is stored. The last Job stays for its log until its time is over."""
    stored = record_of(turn.kept, turn.judged)
    same = stored is not None and stored.get("verdict") == record["verdict"]
    others = tuple(name for name in turn.runs if name != record.get("job"))
    return GateDecision(record, opens=same and opens(record), superfluous=others, wake=wake)


def _time(now: datetime) -> str:
    return timestamps.render(now.replace(microsecond=0))
