"""Wiring of the FeatureView operator: what it watches, and which view each object concerns."""

from __future__ import annotations

from collections.abc import Iterable

from millrace_core.api import names
from millrace_kube.cached_client import CachedClient
from millrace_kube.platform import Platform
from millrace_kube.resources import CRON_JOBS, FEATURE_VIEWS, JOBS, PODS, Object, labels_of, namespace_of
from millrace_kube.runtime import Controller, itself
from millrace_operators.featureview.reconcile import Reconciler


def controllers(cluster: CachedClient, platform: Platform) -> list[Controller]:
    """The one control loop of feature views."""
    reconciler = Reconciler(cluster, platform)
    watches = {FEATURE_VIEWS: itself, CRON_JOBS: _view, JOBS: _view, PODS: _view}
    return [Controller("featureview", reconciler.reconcile, watches)]


def _view(child: Object) -> Iterable[tuple[str, str]]:
    """A purge Job lives outside of its view's namespace and says so by a label."""
    labels = labels_of(child)
    view = labels.get(names.VIEW)
    return [(labels.get(names.PROJECT, namespace_of(child)), view)] if view else []
