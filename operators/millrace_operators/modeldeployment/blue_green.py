"""BlueGreen: when traffic may flip to the revision that the spec asks for, and which others keep their pods. Pure.

The plan brings a revision up and says when it is whole; here is said whether it may then serve. All that is remembered
stands in ``status.rollout``, which is written with ``status.revision``, the flip itself, in one write: an operator that
is killed anywhere decides the same again.

A change of the spec during a preview replaces what is previewed. During the time after a flip the revision before is
kept until the next flip, or until its time is over, whichever is first: one at a time is kept. A spec that goes back to
the revision that is kept gets it at once, as by a rollback.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from millrace_core.api import command as commands
from millrace_core.api import conditions, names
from millrace_core.api.rollout import BlueGreen, Rollout
from millrace_core.base import duration, timestamps
from millrace_core.base.errors import RejectError
from millrace_operators.modeldeployment.command import PROMOTE, ROLLBACK
from millrace_operators.modeldeployment.plan import RolloutPlan, Terms

STARTING: Final = "Starting"
PREVIEWING: Final = "Previewing"
AWAITING_PROMOTION: Final = "AwaitingPromotion"
KEEPING_PREVIOUS: Final = "KeepingPrevious"
ROLLED_BACK: Final = "RolledBack"
COMPLETE: Final = "Complete"


@dataclass(frozen=True)
class RolloutState:
    """What is remembered; fields as in ``millrace_core.api.rollout.RolloutStatus``, empty where absent."""

    preview: str = ""
    ready_since: datetime | None = None
    promoted: str = ""
    previous: str = ""
    rolled_back: str = ""
    keep_until: datetime | None = None


@dataclass(frozen=True)
class Commanded:
    """What a command leads to.

    Attributes:
        rollout: the spec's.
        state: as it is from now on.
        serve: the revision that serves from now on, where it can; empty: the command moves no traffic by itself.
        result: what is said of it.
        refusal: why it is not carried out.
    """

    rollout: Rollout
    state: RolloutState
    serve: str = ""
    result: str = ""
    refusal: RejectError | None = None


@dataclass(frozen=True)
class RolloutReport:
    """What becomes of a rollout.

    Attributes:
        wake: when to look again although nothing happens.
        result: what is said of a command that was carried out.
    """

    state: RolloutState
    phase: str
    message: str
    wake: datetime | None = None
    result: str = ""

    def document(self) -> dict[str, Any]:
        """As ``status.rollout`` has it."""
        state = self.state
        times = {"readySince": state.ready_since, "keepUntil": state.keep_until}
        texts = {"preview": state.preview, "promoted": state.promoted, "previous": state.previous}
        return {
            "phase": self.phase,
            "message": self.message,
            **{key: text for key, text in {**texts, "rolledBack": state.rolled_back}.items() if text},
            **{key: timestamps.render(time) for key, time in times.items() if time is not None},
        }


def remembered(status: Mapping[str, Any]) -> RolloutState:
    """The state of a stored status."""
    found = status.get("rollout") or {}
    texts = {key: str(found.get(key) or "") for key in ("preview", "promoted", "previous")}
    times = {key: timestamps.parse(found[key]) if found.get(key) else None for key in ("readySince", "keepUntil")}
    return RolloutState(
        **texts,
        rolled_back=str(found.get("rolledBack") or ""),
        ready_since=times["readySince"],
        keep_until=times["keepUntil"],
    )


def current(state: RolloutState, target: str, now: datetime) -> RolloutState:
    """The state for the revision that the spec asks for now; what was said of another one counts no more."""
    mine = state.preview == target
    state = replace(
        state,
        ready_since=state.ready_since if mine else None,
        promoted=state.promoted if state.promoted == target else "",
        rolled_back=state.rolled_back if state.rolled_back == target else "",
    )
    if state.previous and state.keep_until is not None and now >= state.keep_until:
        state = replace(state, previous="")
    return state if state.previous or state.rolled_back else replace(state, keep_until=None)


def obey(
    verb: str, rollout: Rollout, state: RolloutState, target: str, serving: str, able: Collection[str], now: datetime
) -> Commanded:
    """What a promote or rollback command leads to; of any other nothing.

    Args:
        able: revisions that can serve at once.
    """
    if verb == PROMOTE:
        return _promote(rollout, state, target, serving)
    if verb != ROLLBACK:
        return Commanded(rollout, state)
    if state.previous and state.previous not in able:
        why = f"no pod of {state.previous}, which is kept, is ready just now"
        return Commanded(rollout, state, refusal=_refusal(why, "Send the command again once one is"))
    return _roll_back(rollout, state, target, serving, now)


def terms(commanded: Commanded, target: str, serving: str, now: datetime) -> Terms:
    """What the plan has to keep to."""
    rollout, state = commanded.rollout, commanded.state
    back = state.rolled_back == target
    return Terms(
        waits=not _may_flip(rollout, state, target, now),
        parked=back and state.keep_until is not None and now >= state.keep_until,
        warm=frozenset({state.previous, serving} - {"", target}),
        serve=commanded.serve,
    )


def report(commanded: Commanded, planned: RolloutPlan, serving: str, url: str, now: datetime) -> RolloutReport:
    """The state after the plan, and what is said of it.

    Args:
        serving: the revision that served until now, from the status.
        url: of the preview Service.
    """
    rollout, state = commanded.rollout, _after(commanded, planned, serving, now)
    phase, message = _said(rollout, state, planned, url, now)
    due = _preview_over_at(rollout, state) if phase == PREVIEWING else None
    kept = state.keep_until if state.keep_until is not None and state.keep_until > now else None
    times = [time for time in (due, kept) if time is not None]
    return RolloutReport(state, phase, message, min(times, default=None), commanded.result)


def preview_url(service: str, namespace: str) -> str:
    """Where what is previewed is called."""
    return f"http://{names.preview_service(service)}.{namespace}.svc"


def _may_flip(rollout: Rollout, state: RolloutState, target: str, now: datetime) -> bool:
    """Whether the target may have the traffic once it is whole."""
    if state.rolled_back == target:
        return False
    if target in (state.promoted, state.previous):
        return True
    over = _preview_over_at(rollout, state)
    previewed = not _seconds(rollout, "preview_for") or (over is not None and now >= over)
    return rollout.on_success == "Promote" and previewed


def _after(commanded: Commanded, planned: RolloutPlan, serving: str, now: datetime) -> RolloutState:
    rollout, state = commanded.rollout, commanded.state
    flipped = bool(serving) and planned.active not in ("", serving)
    if planned.active == planned.target:
        state = replace(state, preview="", ready_since=None, promoted="", rolled_back="")
        if flipped:
            return replace(state, previous=serving, keep_until=now + _seconds(rollout, "keep_for"))
        return state if state.previous else replace(state, keep_until=None)
    if flipped:
        state = replace(state, previous="")
    parked = planned.target not in planned.replicas
    since = (state.ready_since or now) if planned.whole else None
    return replace(state, preview="" if parked else planned.target, ready_since=since)


def _said(rollout: Rollout, state: RolloutState, planned: RolloutPlan, url: str, now: datetime) -> tuple[str, str]:
    target, active = planned.target, planned.active
    if active == target and state.previous and state.keep_until is not None:
        until = _shown(state.keep_until)
        return KEEPING_PREVIOUS, f"{active} serves; {state.previous} is kept until {until} for a rollback command"
    if active == target:
        return COMPLETE, f"{active} serves, and no other revision is kept"
    if state.rolled_back == target:
        kept = state.preview and state.keep_until
        pods = f"its pods are kept until {_shown(state.keep_until)}" if kept and state.keep_until else "it has no pods"
        return ROLLED_BACK, (
            f"{active or 'no revision'} serves; {target}, which the spec asks for, was taken back by a command, and "
            f"{pods}. Promote it by a command, or change the spec"
        )
    if state.ready_since is None:
        return STARTING, f"{active or 'no revision'} serves; pods of {target} are not all ready"
    over = _preview_over_at(rollout, state) or now
    if rollout.on_success == "Promote" or now < over:
        then = "it takes the traffic" if rollout.on_success == "Promote" else "it waits for a promote command"
        return PREVIEWING, f"{active} serves; {target} is previewed at {url} until {_shown(over)}, then {then}"
    return AWAITING_PROMOTION, f"{active} serves; {target} is ready at {url} and waits for a promote command"


def _promote(rollout: Rollout, state: RolloutState, target: str, serving: str) -> Commanded:
    if target != serving:
        result = f"{target} gets the traffic once all its pods are ready"
        kept = state.keep_until if state.previous else None
        return Commanded(rollout, replace(state, promoted=target, rolled_back="", keep_until=kept), result=result)
    if not state.previous:
        return Commanded(
            rollout,
            state,
            refusal=_refusal(f"{target} serves already", "There is nothing to promote, and nothing is kept"),
        )
    result = f"{state.previous} is kept no longer"
    return Commanded(rollout, replace(state, previous="", keep_until=None), result=result)


def _roll_back(rollout: Rollout, state: RolloutState, target: str, serving: str, now: datetime) -> Commanded:
    if target == serving and not state.previous:
        return Commanded(
            rollout,
            state,
            refusal=_refusal(
                f"no revision is kept beside {serving or 'none'}, so there is none to go back to",
                "One is kept for spec.rollout.blueGreen.keepFor after a flip; change the spec back instead",
            ),
        )
    until = now + _seconds(rollout, "keep_for")
    after = replace(state, rolled_back=target, promoted="", keep_until=until)
    if not state.previous:
        return Commanded(rollout, after, result=f"{target} gets no traffic until it is promoted; {serving} serves on")
    return Commanded(rollout, after, state.previous, f"{state.previous} serves again, and {target} gets no traffic")


def _shown(time: datetime) -> str:
    return timestamps.render(time.replace(microsecond=0))


def _refusal(message: str, hint: str) -> RejectError:
    return RejectError(message, hint=hint, field=commands.FIELD, reason=conditions.BAD_COMMAND)


def _preview_over_at(rollout: Rollout, state: RolloutState) -> datetime | None:
    return state.ready_since + _seconds(rollout, "preview_for") if state.ready_since is not None else None


def _seconds(rollout: Rollout, name: str) -> timedelta:
    text: str = getattr(rollout.blue_green or BlueGreen(), name)
    return timedelta(seconds=duration.seconds(text, field="spec.rollout.blueGreen"))
