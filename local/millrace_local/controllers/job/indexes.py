"""Completion indexes of Indexed Jobs: the compressed text form of ``status.completedIndexes``, and the pods' index."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import count, groupby

from millrace_kube.resources import Object

INDEX = "batch.kubernetes.io/job-completion-index"


def parse(text: str, completions: int) -> set[int]:
    """Reads ``"0,2-4"`` into a set; indexes from ``completions`` on, left from a larger Job, are dropped."""
    indexes: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        indexes.update(range(int(first), int(last or first) + 1))
    return {index for index in indexes if index < completions}


def render(indexes: Iterable[int]) -> str:
    """Writes a set as ``"0,2-4"``: runs of three or more (as two ends), pairs as two numbers."""
    parts: list[str] = []
    # Within a run, value minus position is constant.
    counter = count()
    for _, run in groupby(sorted(set(indexes)), key=lambda index: index - next(counter)):
        members = list(run)
        if len(members) > 2:  # noqa: PLR2004 - a pair is no shorter as a range
            parts.append(f"{members[0]}-{members[-1]}")
        else:
            parts += [str(index) for index in members]
    return ",".join(parts)


def index_of(pod: Object) -> int:
    """The pod's completion index; -1 where it has none."""
    text = (pod["metadata"].get("annotations") or {}).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def missing(completions: int, present: Collection[int], amount: int) -> list[int]:
    """The lowest ``amount`` indexes that are neither completed nor at work."""
    return [index for index in range(completions) if index not in present][: max(0, amount)]
