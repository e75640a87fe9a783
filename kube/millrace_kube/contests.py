"""How often the same object was put back, so that two writers of one field do not drive each other for ever."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta
from typing import Final

from millrace_core.base import timestamps
from millrace_kube.errors import ContestedError

# Within this time an object is put back so often; then it is left as it is until the first time is that long ago.
WINDOW: Final = timedelta(minutes=1)
MOST: Final = 3

_FEW: Final = 1000


class Contests:
    """How often within the last minute what others had written was put back. A restart forgets it."""

    def __init__(self) -> None:
        self._written: dict[Hashable, tuple[str, list[datetime]]] = {}
        self._most = _FEW

    def refuse(self, key: Hashable, stamp: str, what: str, now: datetime) -> None:
        """Refuses to put the same back once more.

        Args:
            stamp: of what would be written, the same each time; ``what``: the object and who changed it, for people.

        Raises:
            ContestedError: it was put back three times within a minute.
        """
        times = self._of(key, stamp, now)
        if len(times) >= MOST:
            until = timestamps.render(times[-MOST] + WINDOW)
            raise ContestedError(
                f"{what}; it was put back {MOST} times within a minute and stays as it is until {until}",
                hint="End what keeps changing it: one writer has to give way",
            )

    def note(self, key: Hashable, stamp: str, now: datetime) -> None:
        """Takes a write that put back what another had changed. One of our own that nobody provoked is none."""
        if len(self._written) > self._most:  # a doubling between two clearings keeps each write cheap
            recent = {known: one for known, one in self._written.items() if one[1][-1] + WINDOW > now}
            self._written, self._most = recent, 2 * len(recent) + _FEW
        self._written[key] = (stamp, [*self._of(key, stamp, now), now][-MOST:])

    def _of(self, key: Hashable, stamp: str, now: datetime) -> list[datetime]:
        of, times = self._written.get(key, (stamp, []))
        return [time for time in times if time + WINDOW > now] if of == stamp else []
