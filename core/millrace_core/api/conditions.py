"""Conditions of the three kinds: types, reasons, and how a new status follows from the one before.

A condition is a dictionary in Kubernetes' standard form. ``True`` means that all is well, ``False`` that something is
wrong, and ``Unknown`` that it is not decided yet. All conditions read the same way, and the summary ``Ready`` follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError

ConditionDict = dict[str, Any]

# Types.
ACCEPTED: Final = "Accepted"
MATERIALIZED: Final = "Materialized"
FRESH: Final = "Fresh"
QUALITY_OK: Final = "QualityOK"
READY: Final = "Ready"
MODEL_RESOLVED: Final = "ModelResolved"
GATES_PASSED: Final = "GatesPassed"
AVAILABLE: Final = "Available"
SCALER_READY: Final = "ScalerReady"
TEMPLATE_CURRENT: Final = "TemplateCurrent"
TARGETS_READY: Final = "TargetsReady"
ROUTE_PROGRAMMED: Final = "RouteProgrammed"
METRICS_AVAILABLE: Final = "MetricsAvailable"
SAMPLE_RATIO_OK: Final = "SampleRatioOK"
GUARDRAILS_OK: Final = "GuardrailsOK"
COMPLETED: Final = "Completed"
FACTS_AVAILABLE: Final = "FactsAvailable"
DELETABLE: Final = "Deletable"

# Reasons that more than one kind has.
VALID: Final = "Valid"
ALL_WELL: Final = "AllWell"
PENDING: Final = "Pending"
SUSPENDED: Final = "Suspended"
DELETING: Final = "Deleting"
NAME_TAKEN: Final = "NameTaken"
BAD_COMMAND: Final = "BadCommand"

# Reasons of FeatureView.
RUNNING: Final = "Running"
COVERED: Final = "Covered"
OFFLINE: Final = "OnlineDisabled"
RUN_FAILED: Final = "RunFailed"
IN_USE: Final = "InUse"
UNUSED: Final = "Unused"
FORCED: Final = "Forced"
UP_TO_DATE: Final = "UpToDate"
STORE_EMPTIED: Final = "StoreEmptied"
BEHIND: Final = "WatermarkBehind"
NOT_RUN: Final = "NotRunYet"
QUALITY_PASSED: Final = "QualityPassed"
QUALITY_WARNINGS: Final = "QualityWarnings"
QUALITY_BLOCKED: Final = "QualityBlocked"
NO_RULES: Final = "NoRules"

_STATUS: Final = {True: "True", False: "False", None: "Unknown"}
_MAX_MESSAGE: Final = 4096


def condition(kind: str, holds: bool | None, reason: str, message: str) -> ConditionDict:
    """A condition without its time, which ``settle`` adds. ``holds`` None is Unknown."""
    return {"type": kind, "status": _STATUS[holds], "reason": reason, "message": message[:_MAX_MESSAGE]}


def rejected(kind: str, error: MillraceError) -> ConditionDict:
    """A condition that is False because of an error. The message names the field and what to do."""
    return condition(kind, False, error.reason, str(error))


def find(conditions: Iterable[ConditionDict] | None, kind: str) -> ConditionDict | None:
    """The condition of this type, or None."""
    return next((item for item in conditions or () if item["type"] == kind), None)


def holds(conditions: Iterable[ConditionDict] | None, kind: str) -> bool:
    """Whether the condition of this type is there and True."""
    found = find(conditions, kind)
    return found is not None and found["status"] == "True"


def held_since(conditions: Iterable[ConditionDict] | None, kind: str) -> datetime | None:
    """Since when the condition of this type is True; None where it is not."""
    found = find(conditions, kind)
    return timestamps.parse(found["lastTransitionTime"]) if found is not None and found["status"] == "True" else None


def summary(conditions: Sequence[ConditionDict], *, message: str = "everything is as the spec says") -> ConditionDict:
    """``Ready``: False with the first False condition's reason, else Unknown with the first Unknown's, else True."""
    for status in ("False", "Unknown"):
        worst = next((item for item in conditions if item["status"] == status), None)
        if worst is not None:
            return {"type": READY, "status": status, "reason": worst["reason"], "message": worst["message"]}
    return condition(READY, True, ALL_WELL, message)


def settle(
    previous: Iterable[ConditionDict] | None, current: Iterable[ConditionDict], *, generation: int, now: datetime
) -> list[ConditionDict]:
    """The conditions as they are stored, with ``observedGeneration`` and ``lastTransitionTime``.

    Where the status has not changed, the time stays, so that an unchanged observation gives an unchanged status.
    """
    settled = []
    for item in current:
        before = find(previous, item["type"])
        same = before is not None and before["status"] == item["status"]
        settled.append(
            {
                **item,
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"]
                if same and before
                else timestamps.render(now.replace(microsecond=0)),
            }
        )
    return settled


def transitions(
    previous: Iterable[ConditionDict] | None, current: Iterable[ConditionDict] | None
) -> list[ConditionDict]:
    """The conditions that deserve an Event: those that became True or False, or are False for another reason.

    ``Ready`` is left out where another condition says the same. There is no Event for Unknown, and none for what was
    True from the start.
    """
    changed = []
    for item in current or ():
        before = find(previous, item["type"])
        turned = before is not None and before["status"] != item["status"] and item["status"] != "Unknown"
        wrong = item["status"] == "False" and (before is None or before["reason"] != item["reason"])
        if turned or wrong:
            changed.append(item)
    others = [item for item in changed if item["type"] != READY]
    return [
        item
        for item in changed
        if item["type"] != READY or item["status"] == "True" or all(o["reason"] != item["reason"] for o in others)
    ]
