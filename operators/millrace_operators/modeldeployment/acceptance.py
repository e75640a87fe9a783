"""Whether a ModelDeployment can be taken up: what no schema can say, because it depends on other objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from millrace_core.api import conditions, feature_reference, names
from millrace_core.api.modeldeployment import ModelDeploymentSpec, service_name
from millrace_core.base.errors import NotFoundError, RejectError

OFFLINE: Final = "FeaturesNotOnline"
NO_LAKE: Final = "NoEvidenceLake"
# As many names as a message shows.
_SHOWN: Final = 20


@dataclass(frozen=True)
class Surroundings:
    """What the verdict depends on.

    Attributes:
        views: the specs in effect of the namespace's FeatureViews, by name.
        leaving: those of them that are being deleted, and take no new readers.
        older: services of the namespace's older ModelDeployments that may need the same objects.
        foreign: names of Services that somebody else has made under the names needed here.
        lake: whether the platform has an evidence lake.
    """

    views: Mapping[str, Mapping[str, Any]]
    leaving: Sequence[str] = ()
    older: Sequence[str] = ()
    foreign: Sequence[str] = ()
    lake: bool = False


def objection(name: str, spec: ModelDeploymentSpec, around: Surroundings) -> RejectError | None:
    """The first thing that stands against it, or None. It may vanish when other objects change."""
    service = service_name(name, spec)
    return _name_taken(service, around) or _unknown_features(spec, around) or _shared_label(spec) or _log(spec, around)


def _name_taken(service: str, around: Surroundings) -> RejectError | None:
    for other in around.older:
        if service in names.services_beside(other) or other in names.services_beside(service):
            longer = max(service, other, key=len)
            return RejectError(
                f"the service {service!r} and the older service {other!r} both need a Service {longer!r}",
                hint=f"Make the ModelDeployment anew with a service name that does not end in "
                f"-{longer.rpartition('-')[2]}",
                field="spec.service",
                reason=conditions.NAME_TAKEN,
            )
    if around.foreign:
        return RejectError(
            f"the Service {around.foreign[0]!r} exists and is not managed by Millrace",
            hint="Delete or rename it, or make the ModelDeployment anew with another service name",
            field="spec.service",
            reason=conditions.NAME_TAKEN,
        )
    return None


def _unknown_features(spec: ModelDeploymentSpec, around: Surroundings) -> RejectError | None:
    views = around.views
    for index, ref in enumerate(spec.features.refs if spec.features else ()):
        field = f"spec.features.refs[{index}]"
        meant = feature_reference.parse(ref, field=field)
        view, feature = meant.view, meant.feature
        if view not in views:
            return NotFoundError(f"there is no FeatureView {view!r}", hint=_known("FeatureViews", views), field=field)
        if view in around.leaving:
            return RejectError(
                f"the FeatureView {view!r} is being deleted",
                hint="Read another view, or wait until it is gone and make it anew",
                field=field,
                reason=conditions.DELETING,
            )
        known = [item["name"] for item in views[view].get("features") or ()]
        if feature not in known:
            return NotFoundError(
                f"the FeatureView {view!r} has no feature {feature!r}", hint=_known("Its features", known), field=field
            )
        keys = [item["name"] for item in views[view].get("entities") or ()]
        for key, _ in meant.keys:
            if key not in keys:
                return NotFoundError(
                    f"the FeatureView {view!r} has no entity {key!r}", hint=_known("Its entities", keys), field=field
                )
        if not (views[view].get("online") or {}).get("enabled", True):
            return RejectError(
                f"the features of the FeatureView {view!r} are not in the online store",
                hint="Set its spec.online.enabled to true",
                field=field,
                reason=OFFLINE,
            )
    return None


def _shared_label(spec: ModelDeploymentSpec) -> RejectError | None:
    meant = [feature_reference.parse(ref) for ref in (spec.features.refs if spec.features else ())]
    try:
        feature_reference.refuse_shared_labels(meant, field="spec.features.refs")
    except RejectError as error:
        return error
    return None


def _log(spec: ModelDeploymentSpec, around: Surroundings) -> RejectError | None:
    log = spec.inference.log
    if log is None:
        return None
    if log.uri is None and not around.lake:
        return RejectError(
            "predictions are to be logged, and there is no place for them: the platform has no evidence lake",
            hint="Give the URI of one, or ask whoever runs Millrace to set evidence.uri (values of the Helm chart)",
            field="spec.inference.log.uri",
            reason=NO_LAKE,
        )
    there = _columns(spec, around)
    for index, each in enumerate(log.redact):
        kind, _, name = each.column.partition(".")
        if kind in there and name not in there[kind]:
            return RejectError(
                f"the log has no column {each.column!r}",
                hint=f"Of this kind it has {', '.join(f'{kind}.{other}' for other in there[kind]) or 'none'}",
                field=f"spec.inference.log.redact[{index}].column",
            )
    return None


def _columns(spec: ModelDeploymentSpec, around: Surroundings) -> dict[str, list[str]]:
    """What the log has of features, of their keys as requests call them, and of what requests bring for expressions.

    Which inputs and outputs the model has, its pods know.
    """
    features: dict[str, None] = {}
    keys: dict[str, None] = {}
    fields: dict[str, None] = {}
    for ref in spec.features.refs if spec.features else ():
        meant = feature_reference.parse(ref)
        view, renamed = around.views[meant.view], dict(meant.keys)
        features[meant.full_name] = None
        keys |= {renamed.get(each["name"], each["name"]): None for each in view.get("entities") or ()}
        fields |= {each["name"]: None for each in view.get("requestFields") or ()}
    return {"feature": list(features), "entity": list(keys), "request": list(fields)}


def _known(what: str, found: Mapping[str, Any] | Sequence[str]) -> str:
    listed = sorted(found)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{what} of this namespace: {', '.join(listed[:_SHOWN]) or 'none'}{more}" if listed else f"{what}: none"
