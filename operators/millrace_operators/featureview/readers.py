"""Who reads a view, and which changes of it they forbid: another entity, or another type of a feature that is read.

What the view was before stands in its CronJob, which is written only when a definition is accepted. While a change is
refused the CronJob stays as it was, so the store goes on with the definition that the readers know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from millrace_core.api import conditions, feature_reference
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.base.errors import MillraceError, RejectError
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.definition.evolution import evolution
from millrace_kube.cache import Cache
from millrace_kube.resources import MODEL_DEPLOYMENTS, Object, deleting, name_of

# When a refused change is looked at again: readers may have gone meanwhile.
LOOK_AGAIN_SECONDS: Final = 10.0


def refuse_breaking(changed: Definition, cron_job: Object | None, readers: Mapping[str, Sequence[str]]) -> None:
    """Refuses a change that breaks a reader.

    Args:
        changed: the definition as it is now.
        cron_job: the view's, written for the definition that was accepted last.
        readers: the features that each ModelDeployment reads, by its name.

    Raises:
        RejectError: with the readers' names; its reason is ``conditions.IN_USE``.
    """
    before = _before(cron_job)
    if before is None:
        return
    why = evolution(before, changed).blocks(readers)
    if why:
        raise RejectError(
            "; ".join(why),
            hint="Add a feature of another name beside it, or a view of another name, and move the readers there first",
            field="spec.entities" if why[0].startswith("the entities") else "spec.features",
            reason=conditions.IN_USE,
        )


def readers(cache: Cache, namespace: str, view: str) -> dict[str, list[str]]:
    """The features of a view that each ModelDeployment reads, by its name."""
    found: dict[str, list[str]] = {}
    for deployment in cache.all(MODEL_DEPLOYMENTS, namespace):
        refs = None if deleting(deployment) else (deployment["spec"].get("features") or {}).get("refs")
        for meant in feature_reference.readable(refs):
            if meant.view == view:
                found.setdefault(name_of(deployment), []).append(meant.feature)
    return found


def _before(cron_job: Object | None) -> Definition | None:
    """The definition that the view's CronJob was written for."""
    if cron_job is None:
        return None
    try:
        pod: Mapping[str, Any] = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        given = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
        document = json.loads(given["MILLRACE_FEATURE_VIEW"])
        spec = FeatureViewSpec.model_validate(document["spec"])
        return definition.compile(document["metadata"]["name"], document["metadata"]["namespace"], spec)
    except (KeyError, IndexError, TypeError, ValueError, MillraceError):
        # Written by another version or by hand: nothing is known of what was before.
        return None
