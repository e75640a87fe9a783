"""The seam behind which facts come from: one small object for each kind of request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar

from millrace_operators.facts.fact import FactRequest

T = TypeVar("T")

# Of sources beyond the API server: turns that wait for one that hangs would do nothing else.
PAUSE: Final = timedelta(seconds=30)


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What a source found, and the time (aware, UTC) at which it was true: of the measurement, not of the answer."""

    value: T
    at: datetime


@dataclass(frozen=True)
class NoReading:
    """The source was asked and has nothing, as of this time."""

    at: datetime


class FactSource(ABC):
    """Answers requests of one class. ``read`` may take its time, raise anything, and be cancelled at any await.

    Attributes:
        name: as messages show it, such as "the API server".
        answers: the class of requests that it answers.
        max_age: how old a reading may be; None: as old as it is.
        pause: how long it is not asked again after it gave no answer in time; None: it is asked each time.
    """

    name: ClassVar[str]
    answers: ClassVar[type[FactRequest[Any]]]
    max_age: timedelta | None = None
    pause: timedelta | None = None

    @abstractmethod
    async def read(self, request: Any) -> Reading[Any] | NoReading:
        """Asks; ``request`` is one of ``answers``."""
