"""An experiment's sums in the online store: exposures and outcomes in, by one atomic script per batch.

All keys of an experiment begin with ``experiment-sums:{<namespace>/<name>/<uid>}:``, so they are in one slot::

    state       hash    of ``sums_state``, as are ``logs`` and ``lock``
    units       hash    unit -> arm NUL epoch NUL time of its first exposure, microseconds
    crossed     set     units that were seen in another arm, too
    values      hash    unit NUL outcome NUL (a: after exposure, b: before) -> the exact sum of its values
    sums        hash    what is read
    waiting     hash    unit -> outcomes that came before its exposure did
    ids:<n>     set     digests of the ids that came in a period; known in the two beside it, too, because
                        of logs that are read again the later one may come first

Ids go, and logs stay, for as long as there is no lake. So an outcome is counted while its id would be known, if it had
come before: up to ``TELLABLE`` after it was received, or after these keys began to be filled. An older one is dropped,
and the sums are whole no more: they are made anew, with all ids.

A log is not read in the order of its times: of a unit without values an earlier exposure replaces that which is
known.

Sums are exact, so they are the same in whatever order outcomes come, and whether they came or a log was read again. An
exact sum is a list of doubles that do not overlap, packed little-endian (J. R. Shewchuk, "Adaptive Precision
Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997); products are made exact by T. J. Dekker's
splitting ("A floating-point technique for extending the available precision", 1971). A unit's value is its sum, rounded
once to a double, as ``math.fsum`` does.

A field of ``sums`` is ``<metric> NUL <epoch> NUL <arm> NUL`` and n (decimal), x, xx, z, zz or xz; ``e NUL <epoch> NUL
<arm>``, the units; ``unexposed``, ``late``, ``waiting``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Final

from millrace_core.evidence.outcome import Exposure, Outcome
from millrace_core.experiments.published import OutcomeMetric, PublishedExperiment

ACCEPTED: Final = 1
DUPLICATE: Final = 0
UNEXPOSED: Final = 2
# Too old to know whether it was counted: it is counted when the sums are made anew.
DROPPED: Final = 4

# How long an id is known at least, and so how late the same outcome may be sent again: also the period of its set.
IDS_SECONDS: Final = 24 * 3600
# How long after it was received an outcome may be told; microseconds.
TELLABLE: Final = IDS_SECONDS * 1_000_000
# The set of a period lasts so long from the last outcome of it: an outcome looks into the periods beside its own.
_IDS_KEPT: Final = 3 * IDS_SECONDS
# How much later than its outcome an exposure may be, by the clocks of two machines; in microseconds.
SKEW: Final = 60 * 1_000_000
# From so much after it came about an outcome is late; microseconds.
LATE: Final = 3600 * 1_000_000
# Outcomes of units that were not exposed yet, by experiment: they count when their exposure comes.
MOST_WAITING: Final = 100_000
# Sums that nothing comes to any more.
KEPT_SECONDS: Final = 90 * 24 * 3600
_OUTCOME: Final = struct.Struct("<16sddBH")
# Of one call of the script, which the store does nothing else beside.
MOST_AT_ONCE: Final = 500


def base_key(identity: str) -> bytes:
    """The beginning of all keys of an experiment."""
    return f"experiment-sums:{{{identity}}}:".encode()


def metrics_digest(experiment: PublishedExperiment) -> str:
    """Changes with what the sums mean."""
    return hashlib.sha256(repr([tuple(vars(each).values()) for each in experiment.metrics]).encode()).hexdigest()[:16]


def period(received: int) -> int:
    """The period of ids that a moment (microseconds) is in."""
    return received // (IDS_SECONDS * 1_000_000)


def arguments(
    experiment: PublishedExperiment, exposures: Sequence[Exposure], outcomes: Sequence[Outcome], now: int, writer: str
) -> list[bytes]:
    """The arguments of ``sums_script.TELL``.

    Args:
        outcomes: received in one period.
        now: the present moment in microseconds.
        writer: uid of the log that has them.
    """
    oldest = min((each.received for each in outcomes), default=now)
    found = [
        b"%d" % period(oldest),
        b"%d" % KEPT_SECONDS,
        b"%d" % _IDS_KEPT,
        b"%d" % SKEW,
        b"%d" % MOST_WAITING,
        b"%d" % now,
        b"%d" % oldest,
        b"%d" % TELLABLE,
        writer.encode(),
        b"%d" % len(experiment.metrics),
    ]
    for metric in experiment.metrics:
        found += _metric(metric)
    found.append(b"%d" % len(exposures))
    for each in exposures:
        found += [each.unit.encode(), each.arm.encode(), b"%d" % each.epoch, b"%d" % each.time]
    found.append(b"%d" % len(outcomes))
    found += [_packed(*each[3:]) for each in outcomes]
    return found


def _packed(unit: str, outcome: str, value: float, time: int, identity: str, received: int) -> bytes:
    """The fields of an ``Outcome`` behind its experiment, as the script unpacks them."""
    digest = hashlib.blake2b(identity.encode(), digest_size=16).digest()
    name = unit.encode()
    return _OUTCOME.pack(digest, value, time, received - time > LATE, len(name)) + name + outcome.encode()


def _metric(metric: OutcomeMetric) -> list[bytes]:
    kind = b"c" if metric.covariate else metric.kind[0].encode()
    return [metric.name.encode(), kind, metric.outcome.encode(), (metric.covariate or metric.denominator).encode()]


def exact(packed: bytes) -> float:
    """An exact sum, rounded once."""
    return float(sum(map(Fraction, _doubles(packed)), Fraction()))


def _doubles(packed: bytes) -> Iterable[float]:
    return (each for (each,) in struct.iter_unpack("<d", packed))
