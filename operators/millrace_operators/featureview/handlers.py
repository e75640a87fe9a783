"""The control loop of FeatureViews."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from millrace_core.api import names
from millrace_kube.cached_client import CachedClient
from millrace_kube.resources import CRON_JOBS, FEATURE_VIEWS, JOBS, PODS, Object, labels_of, namespace_of
from millrace_kube.runtime import Controller, itself
from millrace_operators.featureview.reconcile import reconcile
from millrace_operators.platform import Platform


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """One key for each FeatureView."""
    watches = {FEATURE_VIEWS: itself, CRON_JOBS: _view, JOBS: _view, PODS: _view}
    return [Controller("featureview", partial(reconcile, cluster, platform), watches)]


def _view(child: Object) -> Iterable[tuple[str, str]]:
    """The view of a child. A purge Job is outside of its view's namespace, and a label says which one that is."""
    labels = labels_of(child)
    view = labels.get(names.VIEW)
    return [(labels.get(names.PROJECT, namespace_of(child)), view)] if view else []
