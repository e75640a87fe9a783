"""A shadow beside what was answered, out of the evidence lake."""

from __future__ import annotations

import os

from millrace.sdk import evidence
from millrace.sdk.time_arguments import TimeArgument
from millrace_data.evidence import comparing
from millrace_data.evidence.comparing import Comparison, Pair


def compare(
    service: str,
    control: str,
    shadow: str,
    *,
    namespace: str,
    start: TimeArgument | None = None,
    end: TimeArgument | None = None,
    lake: str | os.PathLike[str] | None = None,
    tolerance: float = 1e-6,
) -> Comparison:
    """Compares what two ModelDeployments predicted for the requests of the same ids.

    Args:
        service: that both serve behind.
        control, shadow: names of the ModelDeployments.
        start, end: of the predictions' times; absent: the last day.
        tolerance: how far apart floats may be and agree, absolute below 1 and relative above.

    Raises:
        NotFoundError: no request has predictions of both. RejectError: of a field. RetryError: no lake answers.
    """
    since, until = evidence.period(start, end)
    pair = Pair(namespace, service, control, shadow)
    return comparing.compare(evidence.lake(lake), pair, since, until, tolerance=tolerance)
