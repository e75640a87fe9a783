"""How long runs of the warm session take, one after the other, as a lane makes them."""

from __future__ import annotations

import math
from time import perf_counter
from typing import Final

import numpy as np

from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.gates.measured import Measured
from millrace_core.stats.results import Inconclusive
from millrace_services.gate.feeds import Feeds
from millrace_services.inference.session import ModelSession

RUNS: Final = 1000
_WARM: Final = 10
# Fewer runs than these say nothing of a quantile.
_FEWEST: Final = {0.5: 20, 0.99: 100}


def measure(session: ModelSession, fed: Feeds, rows: int, seconds: float) -> list[float] | Inconclusive:
    """Seconds of each run on ``rows`` rows, sorted.

    Args:
        fed: inputs of some rows, of which those here are made; empty: rows of zeros.
        seconds: after so long no further run begins.
    """
    try:
        inputs = sized(session, fed, rows)
        for _ in range(_WARM):
            session.run(inputs, session.signature.output_names)
        found: list[float] = []
        ends = perf_counter() + seconds
        while len(found) < RUNS and perf_counter() < ends:
            began = perf_counter()
            session.run(inputs, session.signature.output_names)
            found.append(perf_counter() - began)
    except MillraceError as error:
        return Inconclusive(error.reason, str(error))
    return sorted(found)


def sized(session: ModelSession, fed: Feeds, rows: int) -> Feeds:
    """Inputs of ``rows`` rows: those of ``fed``, from the first again where they are fewer.

    Raises:
        RejectError: the model takes one row at a time.
    """
    specs = session.signature.inputs
    fixed = [spec for spec in specs.values() if spec.shape and spec.shape[0] not in (-1, rows)]
    if fixed:
        raise RejectError(f"input {fixed[0].name!r} takes {list(fixed[0].shape)}, so {rows} rows are never run at once")
    if not fed:
        return session.blank_rows(rows)
    return {name: values[np.arange(rows) % len(values)] for name, values in fed.items()}


def quantile(seconds: list[float] | Inconclusive, share: float) -> Measured | Inconclusive:
    """The time within which this share of the runs ended, by nearest rank.

    Args:
        seconds: sorted.
    """
    if isinstance(seconds, Inconclusive):
        return seconds
    if len(seconds) < _FEWEST[share]:
        return Inconclusive("TooFewRuns", f"only {len(seconds)} runs ended in time, {_FEWEST[share]} are needed")
    return Measured(seconds[math.ceil(share * len(seconds)) - 1], len(seconds))
