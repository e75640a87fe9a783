"""When a component that ended is restarted. Pure."""

from __future__ import annotations

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0
# After a run of this length a component counts as healthy again, and its next end as the first.
RECOVERED_SECONDS = 30.0
# A component that ends this often before it was ever ready will not become ready by itself.
EXITS_BEFORE_FAILED = 3


def failures(before: int, ran_seconds: float) -> int:
    """The number of failures in a row, after one more that followed ``ran_seconds`` of work."""
    return 1 if ran_seconds >= RECOVERED_SECONDS else before + 1


def delay(failures: int) -> float:
    """Seconds before the next start after this many failures in a row."""
    return float(min(FIRST_SECONDS * 2.0 ** (failures - 1), LONGEST_SECONDS))
