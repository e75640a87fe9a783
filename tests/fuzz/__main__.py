"""``python -m tests.fuzz TARGET [--seconds N | --examples N]``: fuzzes one parser in a process of its own."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import MOST_GROWTH, TARGETS, Target

_ROUND: Final = 2000


def main() -> int:
    """Ends with 1, and the input, where there is a finding."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("target", choices=[*TARGETS])
    arguments.add_argument("--seconds", type=float, default=0.0)
    arguments.add_argument("--examples", type=int, default=_ROUND)
    chosen = arguments.parse_args()
    target = TARGETS[chosen.target]
    for seed in target.seeds:
        _call(target, seed)
    before, until, examples = _peak(), time.monotonic() + chosen.seconds, 0
    while examples == 0 or time.monotonic() < until:
        # With time given each round is another one; without, all runs are the same.
        _round(target, chosen.examples, same=not chosen.seconds)
        examples += chosen.examples
        if _peak() - before > MOST_GROWTH:
            print(f"{chosen.target}: memory grew by {_peak() - before} bytes")
            return 1
    print(f"{chosen.target}: {examples} examples, no finding; memory grew by {_peak() - before} bytes")
    return 0


def _round(target: Target, examples: int, *, same: bool) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=same,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(mutated(target.seeds))
    def run(body: bytes) -> None:
        _call(target, body)

    run()


def _call(target: Target, body: bytes) -> None:
    try:
        target.call(body)
    except target.refusals as refusal:
        # Answers and logs hold what was wrong, not all that came.
        assert len(str(refusal)) < 2000, len(str(refusal))  # noqa: PT017 not a test's own


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
