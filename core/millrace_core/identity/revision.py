"""Revision: what the pods of a ModelDeployment run.

A revision is one rendering of one spec. It is made once and kept: what the user asked for (its content), the pod
template that Millrace made of it then, and the digest that its first pod measured. Pods of a revision are put back
from what is kept, so one revision never runs two templates and never serves two models.

A new revision comes when the content changes: the model's URI, digest or credentials, the features, the log, the
resources, the device, the GPU, batching, the queue or the cache; or when the user asks for one by the command
``restart``. The number of pods and words about the deployment change nothing, and a new release of Millrace changes
nothing either: its image, limits, environment, probes, addresses and defaults reach the revisions that are made from
then on.

A revision is named after the deployment and a hash of the object, its number and its content, so a name never comes
back for something else. What clients and records of predictions compare is the model version, not this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from millrace_core.api import names
from millrace_core.api.base import Resources
from millrace_core.api.modeldeployment import ModelDeploymentSpec, service_name

Content = dict[str, Any]

_CPU: Final = "cpu"
# Fields whose keys are the user's own: one that is gone there was taken away, not left out by a release.
_MAPS: Final = frozenset({"requests", "limits"})


def content(name: str, spec: ModelDeploymentSpec, device: str, *, defaults: bool = True) -> Content:
    """What of a spec decides what pods run, in sections of fields as the spec has them.

    Args:
        name: of the ModelDeployment.
        device: gpu or cpu, the one chosen.
        defaults: False leaves out the fields that have their default value.
    """
    options: dict[str, Any] = {"by_alias": True, "exclude_defaults": not defaults}
    caching = spec.inference.caching
    return {
        "service": service_name(name, spec),
        "model": spec.model.model_dump(**options),
        "features": spec.features.model_dump(**options) if spec.features else None,
        "log": spec.inference.log.model_dump(**options) if spec.inference.log else None,
        "resources": (spec.resources or Resources()).model_dump(**options),
        "device": _CPU if device == _CPU else spec.inference.device,
        "batching": spec.inference.batching.model_dump(**options),
        "queue": spec.inference.queue.model_dump(**options),
        "cache": caching.model_dump(**options) if caching else None,
        "gpu": None if device == _CPU else spec.inference.gpu.model_dump(**options),
    }


def unchanged(kept: Mapping[str, Any], now: Content, stated: Content) -> bool:
    """Whether a spec still asks for what is kept, which an older or newer release may have written.

    A field that only this release knows counts as unchanged while it has its default; one that only the other release
    knew counts for nothing. That holds at any depth.

    Args:
        now: the content of the spec.
        stated: the same without what has its default value.
    """
    return all(
        _unchanged(kept[section], value, stated[section]) if section in kept else not stated[section]
        for section, value in now.items()
    )


def _unchanged(kept: Any, now: Any, stated: Any, name: str = "") -> bool:
    if not isinstance(kept, Mapping) or not isinstance(now, Mapping) or name in _MAPS:
        return bool(kept == now)
    said = stated if isinstance(stated, Mapping) else {}
    return all(
        _unchanged(kept[field], value, said.get(field), field) if field in kept else field not in said
        for field, value in now.items()
    )


def revision_name(deployment: str, uid: str, number: int, made_of: Content) -> str:
    """Name of the ``number``-th revision of the ModelDeployment with this uid: its own, and 8 hex digits."""
    return f"{deployment}-{names.short_hash([uid, number, made_of])}"
