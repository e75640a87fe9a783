"""When a component that ended is started again. Pure."""

from __future__ import annotations

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0
# Whoever has run for so long has recovered; its next end is a first one again.
RECOVERED_SECONDS = 30.0
# Whoever ends so often before it was ever ready will not become ready by itself.
HOPELESS_EXITS = 3


def failures(before: int, ran_seconds: float) -> int:
    """How many ends in a row count, after one more following ``ran_seconds`` of work."""
    return 1 if ran_seconds >= RECOVERED_SECONDS else before + 1


def delay(failures: int) -> float:
    """Seconds to wait before the next start after so many ends in a row."""
    return float(min(FIRST_SECONDS * 2.0 ** (failures - 1), LONGEST_SECONDS))
