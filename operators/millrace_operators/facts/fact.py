"""A fact: what was asked, of whom, and what is known of it. Never a bare value, and never None."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar

T = TypeVar("T")

# Reasons of facts that could not be had, beside those that errors carry.
TIMED_OUT: Final = "TimedOut"
CANCELLED: Final = "Cancelled"
NO_SOURCE: Final = "NoSource"
FROM_THE_FUTURE: Final = "FromTheFuture"
NOT_GATHERED: Final = "NotGathered"


@dataclass(frozen=True)
class FactRequest(Generic[T]):
    """What is to be known, as a plain value: it is also the key under which the fact is found. Subclasses add fields.

    ``str()`` of it names it in messages, such as "whether ModelDeployment v2 exists".

    Attributes:
        may_be_absent: whether "there is none" answers the question, too.
    """

    may_be_absent: ClassVar[bool] = False


@dataclass(frozen=True)
class Known(Generic[T]):
    """It is known: the value, who said so, and since when it is true."""

    value: T
    source: str
    at: datetime

    def age(self, now: datetime) -> timedelta:
        """How old it is; zero where the source's clock is ahead of ours."""
        return max(now - self.at, timedelta())


@dataclass(frozen=True)
class Absent:
    """The source answered that there is none."""

    source: str
    at: datetime


@dataclass(frozen=True)
class Stale:
    """What the source knows is older than it may be. The value is left out, so that nothing is decided by it."""

    source: str
    at: datetime
    max_age: timedelta


@dataclass(frozen=True)
class Failed:
    """Nothing is known: the source failed, was late, was cancelled, or was never asked."""

    source: str
    reason: str
    message: str


Fact = Known[T] | Absent | Stale | Failed


def describe(request: FactRequest[Any], fact: Fact[Any]) -> str:
    """What is not known, and why, for a condition. The words stay the same as long as the fault does."""
    if isinstance(fact, Failed):
        return f"{request} is not known: {fact.source}: {fact.message}"
    if isinstance(fact, Stale):
        return f"{request} is not known: what {fact.source} has is older than {fact.max_age.total_seconds():g} s"
    if isinstance(fact, Absent):
        return f"{request} is not known: {fact.source} has none"
    return f"{request} is known from {fact.source}"


@dataclass(frozen=True)
class Facts:
    """What was gathered for one turn."""

    gathered: Mapping[FactRequest[Any], Fact[Any]] = field(default_factory=dict)

    def get(self, request: FactRequest[T]) -> Fact[T]:
        """The fact; one that nobody asked for has failed, and says so."""
        found = self.gathered.get(request)
        return found if found is not None else Failed("nobody", NOT_GATHERED, "it was not asked for yet")

    def missing(self, requests: Iterable[FactRequest[Any]]) -> dict[FactRequest[Any], Fact[Any]]:
        """Those of ``requests`` that have no answer a decision could rest on."""
        found = {request: self.get(request) for request in requests}
        return {request: fact for request, fact in found.items() if not _answers(request, fact)}


NO_FACTS: Final = Facts()


def _answers(request: FactRequest[Any], fact: Fact[Any]) -> bool:
    return isinstance(fact, Known) or (isinstance(fact, Absent) and request.may_be_absent)
