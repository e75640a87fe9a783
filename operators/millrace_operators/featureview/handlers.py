"""The control loop of FeatureViews."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from millrace_core.api import conditions, names
from millrace_kube.cache import Cache
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import (
    CONTROLLER_REVISIONS,
    CRON_JOBS,
    DEPLOYMENTS,
    EXPERIMENTS,
    FEATURE_VIEWS,
    JOBS,
    MODEL_DEPLOYMENTS,
    PODS,
    Object,
    Resource,
    labels_of,
    name_of,
    namespace_of,
)
from millrace_kube.runtime import Controller, Mapper, itself
from millrace_operators.facts import sources
from millrace_operators.facts.gathering import FactGatherer
from millrace_operators.featureview.reconcile import reconcile
from millrace_operators.platform import Platform


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """One key for each FeatureView."""
    waiting = partial(_waiting, cluster.cache)
    watches: dict[Resource, Mapper] = {
        FEATURE_VIEWS: itself,
        **dict.fromkeys((CRON_JOBS, JOBS, PODS), _view),
        **dict.fromkeys((MODEL_DEPLOYMENTS, DEPLOYMENTS), waiting),
    }
    reads = (CONTROLLER_REVISIONS, EXPERIMENTS)  # of those who read the view
    known = sources(cluster, platform.gateway_url, bearer=platform.bearer) if platform.gateway_url else []
    facts = FactGatherer(known, clock=cluster.now) if known else None
    return [Controller("featureview", partial(reconcile, cluster, platform, facts), watches, reads)]


def _waiting(cache: Cache, reader: Object) -> Iterable[tuple[str, str]]:
    """The views that wait until nobody reads them; which of them this one has just left, only they can tell."""
    for view in cache.all(FEATURE_VIEWS, namespace_of(reader)):
        stated = (view.get("status") or {}).get("conditions") or ()
        if any(item["reason"] == conditions.IN_USE for item in stated):
            yield namespace_of(view), name_of(view)


def _view(child: Object) -> Iterable[tuple[str, str]]:
    """The view of a child. A purge Job is outside of its view's namespace, and a label says which one that is."""
    labels = labels_of(child)
    view = labels.get(names.VIEW)
    return [(labels.get(names.PROJECT, namespace_of(child)), view)] if view else []
