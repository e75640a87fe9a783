"""Retries of an Indexed Job with ``backoffLimitPerIndex``: each index has its own tries and its own back-off.

As Kubernetes does, a pod carries how often its index failed before it, so the last failed pod of an index is kept (by
its finalizer) until its replacement is there: the count lives in the pods, and no restart forgets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from millrace_kube.resources import Object
from millrace_local.controllers.job.failures import Judged, finished_at, seconds_after
from millrace_local.controllers.job.indexes import index_of

FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED = "batch.kubernetes.io/job-index-ignored-failure-count"


def limit(spec: Object) -> int | None:
    """``backoffLimitPerIndex``, where the Job is Indexed and has it."""
    found: int | None = spec.get("backoffLimitPerIndex")
    return found if spec.get("completionMode") == "Indexed" else None


def newly_failed(failed: Iterable[Object], judged: Mapping[str, Judged], tries: int) -> set[int]:
    """Indexes that a failed pod has brought to the end of their tries, or that the failure policy fails."""
    found = set()
    for pod in failed:
        verdict = judged[pod["metadata"]["uid"]].verdict
        if verdict == "FailIndex" or (verdict == "Count" and _annotated(pod, FAILURES) >= tries):
            found.add(index_of(pod))
    return found


def last_failed(failed: Iterable[Object]) -> dict[int, Object]:
    """The failed pod of each index that is the latest of its tries."""
    return {index_of(pod): pod for pod in sorted(failed, key=lambda pod: (_tries(pod), finished_at(pod)))}


def tries_before(last: Object | None, judged: Mapping[str, Judged]) -> dict[str, str]:
    """What the next pod of the index carries."""
    if last is None:
        return {FAILURES: "0", IGNORED: "0"}
    ignored = judged[last["metadata"]["uid"]].verdict == "Ignore"
    return {
        FAILURES: str(_annotated(last, FAILURES) + (not ignored)),
        IGNORED: str(_annotated(last, IGNORED) + ignored),
    }


def seconds_to_wait(last: Object | None, base: float, now: datetime) -> float:
    """How long the next pod of the index has to wait."""
    return 0.0 if last is None else seconds_after(finished_at(last), _tries(last) + 1, base, now)


def _tries(pod: Object) -> int:
    return _annotated(pod, FAILURES) + _annotated(pod, IGNORED)


def _annotated(pod: Object, name: str) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(name, "")
    return int(text) if text.isdigit() else 0
