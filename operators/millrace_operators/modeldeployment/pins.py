"""Which model the pods of a revision have to serve: the one that the first of them measured.

Where it is kept, the most reliable first: the spec's own digest; the status, for the revision that serves, since
nobody but the operator writes it; the revision's ConfigMap, which is there for the pods to read. Only a revision that
has none of these takes what its first pod measured.

Where the status and the ConfigMap differ, somebody edited one of them. What the oldest pod measured says which: that
one has served longest. One edit must not take away every pod that serves rightly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace_kube.resources import Object
from millrace_operators.modeldeployment.pod import PINNED_KEY
from millrace_operators.modeldeployment.pods import Fetched, Measurement
from millrace_operators.modeldeployment.revisions import RevisionRecord


@dataclass(frozen=True)
class Pin:
    """The model of a revision.

    Attributes:
        model: what its pods have to serve.
        strangers: pods that measured another one; they are replaced.
        stated: whether the spec says the digest, so that no ConfigMap has to.
    """

    model: Fetched
    strangers: tuple[Measurement, ...] = ()
    stated: bool = False


def pin(
    record: RevisionRecord | None,
    reported: Mapping[str, Any] | None,
    config_map: Object | None,
    measured: Sequence[Measurement],
) -> Pin | None:
    """The pin of a revision; None while no pod has measured anything.

    Args:
        record: what is kept of the revision; None where somebody deleted it.
        reported: ``status.model`` where the status is about this revision.
        config_map: the revision's, as it is.
        measured: what its pods say, first one first.
    """
    stated = record.stated_digest if record else ""
    model = _kept(_reported(reported), _held(config_map), next((item.model for item in measured), None))
    if stated and (model is None or model.digest != stated):
        model = next((item.model for item in measured if item.model.digest == stated), Fetched(stated, 0))
    if model is None:
        return None
    others = tuple(item for item in measured if item.model.digest != model.digest)
    return Pin(model, others, bool(stated))


def digests(pins: Iterable[Measurement]) -> str:
    """The digests of pods, for a message."""
    return ", ".join(sorted({item.model.digest for item in pins}))


def _kept(reported: Fetched | None, held: Fetched | None, first: Fetched | None) -> Fetched | None:
    """The model that is kept of a revision; ``first`` is what its oldest pod measured."""
    if reported and held and first and reported.digest != held.digest == first.digest:
        return held
    return reported or held or first


def _reported(model: Mapping[str, Any] | None) -> Fetched | None:
    return Fetched(model["digest"], model.get("bytes") or 0) if model and model.get("digest") else None


def _held(config_map: Object | None) -> Fetched | None:
    data = (config_map or {}).get("data") or {}
    size = str(data.get("bytes", ""))
    return Fetched(data[PINNED_KEY], int(size) if size.isdigit() else 0) if data.get(PINNED_KEY) else None
