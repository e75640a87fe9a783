"""``python -m tests.fuzz TARGET [--seconds N | --examples N]``: fuzzes one parser in a process of its own."""

from __future__ import annotations

import argparse
import atexit
import logging
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import MOST_GROWTH, TARGETS, Target

_ROUND: Final = 2000
# Of the processor, for one input: whatever else the machine does, it is that much work. A parser that does not come
# back at all is ended by a signal.
_MOST_SECONDS: Final = 5.0
_END_SECONDS: Final = 60.0
_FRAMES: Final = 12


def main() -> int:
    """Ends with 1, and the input, where there is a finding."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("target", choices=[*TARGETS])
    arguments.add_argument("--seconds", type=float, default=0.0)
    arguments.add_argument("--examples", type=int, default=_ROUND)
    arguments.add_argument("--last", type=Path, help="where each input is written before it is tried")
    chosen = arguments.parse_args()
    target = TARGETS[chosen.target]
    logging.disable(logging.CRITICAL)  # of refusals there are thousands
    fuzzed = Fuzzed(target, chosen.last)
    for seed in target.seeds:
        fuzzed(seed)
    before, until, examples = _peak(), time.monotonic() + chosen.seconds, 0
    while examples == 0 or time.monotonic() < until:
        # With time given each round is another one; without, all runs are the same.
        try:
            _round(fuzzed, chosen.examples, same=not chosen.seconds)
        except Exception as finding:
            _show(chosen.target, finding, fuzzed.body)
            return 1
        examples += chosen.examples
        if _peak() - before > MOST_GROWTH:
            print(f"{chosen.target}: memory grew by {_peak() - before} bytes")
            return 1
    print(f"{chosen.target}: {examples} examples, no finding; memory grew by {_peak() - before} bytes")
    return 0


class Fuzzed:
    """A target, called under limits."""

    def __init__(self, target: Target, last: Path | None) -> None:
        self.seeds = target.seeds
        self.body = b""
        self._target = target
        self._last = last

    def __call__(self, body: bytes) -> None:
        """Tries one input.

        Raises:
            AssertionError: it took too much work, or is refused with too long a sentence.
        """
        self.body = body
        if self._last is not None:
            self._last.write_bytes(body)
        signal.setitimer(signal.ITIMER_PROF, _END_SECONDS)
        began = time.process_time()
        try:
            self._target.call(body)
        except self._target.refusals as refusal:
            # Answers and logs hold what was wrong, not all that came.
            assert len(str(refusal)) < 2000, len(str(refusal))  # noqa: PT017 not a test's own
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        seconds = time.process_time() - began
        assert seconds < _MOST_SECONDS, f"{seconds:.1f} s of the processor"


def _round(fuzzed: Fuzzed, examples: int, *, same: bool) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=same,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(mutated(fuzzed.seeds))
    def run(body: bytes) -> None:
        fuzzed(body)

    run()


def _show(target: str, finding: BaseException, body: bytes) -> None:
    """The end of the finding's way, and the smallest input that has it, without hypothesis' own."""
    while isinstance(finding, BaseExceptionGroup):
        finding = finding.exceptions[0]
    print(f"{target}: a finding\n{''.join(traceback.format_tb(finding.__traceback__)[-_FRAMES:])}")
    print(f"{type(finding).__name__}: {str(finding)[:3000]}\ninput, {len(body)} bytes: {body[:3000]!r}")


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    atexit._run_exitfuncs()
    os._exit(code)  # an orderly end has DuckDB list all of its own that is still there
