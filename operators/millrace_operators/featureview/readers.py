"""Who reads a view: every ModelDeployment whose spec names a feature of it, and every revision that still runs.

A revision goes on with the features that it was made with until it is gone, wherever the spec has moved meanwhile. One
that is being deleted reads until it has gone, because traffic may still lead to it. An Experiment reads through the
deployments of its arms; it is named beside them, because it is what keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from millrace_core.api import feature_reference, names
from millrace_core.api.experiment import TERMINAL
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import (
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    EXPERIMENTS,
    MODEL_DEPLOYMENTS,
    Object,
    labels_of,
    name_of,
)

Readers = Mapping[str, Sequence[str]]

_OURS: Final = f"{names.MANAGED_BY}=millrace"


def readers(cache: Cache, namespace: str, view: str) -> Readers:
    """The features of a view that each ModelDeployment reads, by its name, as far as the cache knows.

    A name has the running Experiments beside it that the deployment is an arm of: ``ranker (arm of Experiment ramp)``.
    """
    return _readers(
        view,
        cache.all(MODEL_DEPLOYMENTS, namespace),
        cache.all(DEPLOYMENTS, namespace),
        cache.all(CONTROLLER_REVISIONS, namespace),
        cache.all(EXPERIMENTS, namespace),
    )


async def readers_now(cluster: CachedClient, namespace: str, view: str) -> Readers:
    """The same as the API server has them: what came after the change that is judged must not be overlooked."""
    deployments, _ = await cluster.client.list(MODEL_DEPLOYMENTS, namespace)
    running, _ = await cluster.client.list(DEPLOYMENTS, namespace, labels=_OURS)
    revisions, _ = await cluster.client.list(CONTROLLER_REVISIONS, namespace, labels=_OURS)
    return _readers(view, deployments, running, revisions, cluster.cache.all(EXPERIMENTS, namespace))


def _readers(
    view: str,
    deployments: Iterable[Object],
    running: Iterable[Object],
    revisions: Iterable[Object],
    experiments: Sequence[Object],
) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    contents = {name_of(item): (item.get("data") or {}).get("content") or {} for item in revisions}
    for deployment in deployments:
        found.setdefault(name_of(deployment), set()).update(_read(deployment["spec"], view))
    for item in running:
        owner = labels_of(item).get(names.DEPLOYMENT)
        if owner:
            found.setdefault(owner, set()).update(_read(contents.get(name_of(item)) or {}, view))
    return {_shown(name, experiments): sorted(features) for name, features in sorted(found.items()) if features}


def _read(content: Mapping[str, Any], view: str) -> Iterator[str]:
    """The features of the view that a spec, or the content of a revision, refers to."""
    for meant in feature_reference.readable((content.get("features") or {}).get("refs")):
        if meant.view == view:
            yield meant.feature


def _shown(deployment: str, experiments: Sequence[Object]) -> str:
    through = [
        name_of(item)
        for item in experiments
        if (item.get("status") or {}).get("phase") not in TERMINAL
        and any(arm.get("deployment") == deployment for arm in item["spec"].get("arms") or ())
    ]
    return f"{deployment} (arm of Experiment {', '.join(sorted(through))})" if through else deployment
