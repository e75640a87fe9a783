"""The one retry policy: waits that double from attempt to attempt, up to a longest one.

Only what raises ``RetryError`` is tried again. Where many begin at once, as reconciles and watches do, chance is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

FIRST_SECONDS: Final = 0.1
LONGEST_SECONDS: Final = 2.0
# Doublings beyond this change nothing, and would one day be too large for a float.
_DOUBLINGS: Final = 30


def delay(
    failures: int, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS, random: Random | None = None
) -> float:
    """Seconds to wait after so many failures in a row, at least one.

    Args:
        random: takes off up to a half, by chance; None: nothing.
    """
    whole = min(first * 2.0 ** min(failures - 1, _DOUBLINGS), longest)
    return whole * random.uniform(0.5, 1.0) if random else whole


def delays(patience: float) -> Iterator[float]:
    """Seconds to wait before each new attempt: ``patience`` in all, or a little more."""
    waited, failures = 0.0, 0
    while waited < patience:
        failures += 1
        yield (seconds := delay(failures))
        waited += seconds


def is_told(failures: int) -> bool:
    """Whether the failure of this number in a row is worth a line in a log: the 1st, 2nd, 4th, 8th…

    So an outage is no flood of lines, and one that lasts is not forgotten.
    """
    return failures & (failures - 1) == 0
