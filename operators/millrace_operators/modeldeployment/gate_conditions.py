"""What a ModelDeployment's gates make of its conditions, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_core.api import conditions
from millrace_core.api.conditions import ConditionDict, condition
from millrace_core.api.group import COMMAND_ANNOTATION
from millrace_operators.modeldeployment.command import RUN_GATES, SKIP_GATES
from millrace_operators.modeldeployment.gates import (
    ATTEMPTS,
    FAIL,
    INCONCLUSIVE,
    PASS,
    RETRY,
    RUNNING,
    SKIPPED,
    GateDecision,
)

PASSED: Final = "GatesPassed"
FAILED: Final = "GateFailed"
UNSETTLED: Final = "GateInconclusive"
AT_WORK: Final = "GatesRunning"
LET_THROUGH: Final = "GatesSkipped"

_AGAIN: Final = f'the annotation {COMMAND_ANNOTATION}="<id>:{RUN_GATES}" judges it again'
_THROUGH: Final = f'"<id>:{SKIP_GATES}" lets it through'


def gates_passed(decision: GateDecision, active: str) -> list[ConditionDict]:
    """The condition GatesPassed; none where the spec has no gates.

    Args:
        active: the revision that serves; empty: none.
    """
    record = decision.record
    if record is None:
        return []
    verdict = record["verdict"]
    if verdict == RUNNING:
        return [_running(decision, record)]
    if verdict == SKIPPED:
        return [_condition(True, LET_THROUGH, str(record.get("message") or ""))]
    if verdict == PASS:
        return [_condition(True, PASSED, _sentences(record, PASS) or str(record.get("message") or ""))]
    return [_held(record, _whom(record, active))]


def _running(decision: GateDecision, record: Mapping[str, Any]) -> ConditionDict:
    if decision.failure is None:
        return _condition(None, AT_WORK, str(record["message"]))
    reason, message = decision.failure.reason, decision.failure.message
    return _condition(None, reason, f"the Job {record['job']} waits: {message}")


def _held(record: Mapping[str, Any], whom: str) -> ConditionDict:
    if record["verdict"] == FAIL:
        advice = f"Serve a better model, or change spec.gates; {_THROUGH}"
        return _condition(False, FAILED, f"{_sentences(record, FAIL)}. {whom}. {advice}")
    if not record.get("reason"):
        advice = f"Mend what keeps it from being judged, then {_AGAIN}, or {_THROUGH}"
        return _condition(False, UNSETTLED, f"{_sentences(record, INCONCLUSIVE)}. {whom}. {advice}")
    attempt = int(record.get("attempt") or 1)
    again = (
        f"It is tried again {RETRY.seconds // 60} minutes after that, "
        if attempt < ATTEMPTS
        else "It is tried no more, "
    )
    advice = f"{again}{attempt} of {ATTEMPTS} tries are done; {_AGAIN}, {_THROUGH}"
    return _condition(False, str(record["reason"]), f"{str(record.get('message') or '').rstrip('.')}. {whom}. {advice}")


def _sentences(record: Mapping[str, Any], verdict: str) -> str:
    """What the rules with this verdict say."""
    said = [
        str(rule.get("message") or "").rstrip(".")
        for rule in record.get("rules") or ()
        if rule.get("verdict") == verdict
    ]
    rows = f"; judged over {record['rows']} rows" if verdict == PASS and record.get("rows") else ""
    return "; ".join(said) + (rows if said else "")


def _whom(record: Mapping[str, Any], active: str) -> str:
    """Who serves meanwhile."""
    judged = record["revision"]
    if active == judged:
        return f"{judged} serves already and goes on"
    return (
        f"{judged} gets no traffic, {active} serves on" if active else f"{judged} gets no traffic, and nothing serves"
    )


def _condition(holds: bool | None, reason: str, message: str) -> ConditionDict:
    return condition(conditions.GATES_PASSED, holds, reason, message)
