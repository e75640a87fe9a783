"""What the operators watch, and what of it they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from millrace_core.api import names
from millrace_kube import resources as r


@dataclass(frozen=True)
class Watch:
    """What is watched of one resource.

    Args:
        labels: label selector; empty: all objects.
        fields: field selector; empty: all objects.
        drop: dotted paths that are not kept, because nothing reads them and they are large.
        owners: whether ``metadata.managedFields`` is kept, but for those of status: see ``ownership``.
    """

    labels: str = ""
    fields: str = ""
    drop: tuple[str, ...] = ()
    owners: bool = False


EVERYTHING: Final = Watch()
_OURS: Final = Watch(f"{names.MANAGED_BY}=millrace", owners=True)

WATCHED: Final[Mapping[r.Resource, Watch]] = {
    r.FEATURE_VIEWS: EVERYTHING,
    r.MODEL_DEPLOYMENTS: EVERYTHING,
    r.EXPERIMENTS: EVERYTHING,
    r.CRON_JOBS: _OURS,
    r.JOBS: _OURS,
    r.PODS: Watch(_OURS.labels, drop=("spec",)),
    r.SERVICES: _OURS,
    r.DEPLOYMENTS: _OURS,
    r.CONTROLLER_REVISIONS: _OURS,
    r.CONFIG_MAPS: _OURS,
    r.POD_DISRUPTION_BUDGETS: _OURS,
    # The users' own are watched too: one on a Deployment of ours pulls at the same number.
    r.SCALED_OBJECTS: Watch(owners=True),
    r.HORIZONTAL_POD_AUTOSCALERS: Watch(owners=True, drop=("status.currentMetrics",)),
    r.SERVICE_MONITORS: _OURS,
    # The users' own are watched too: one for a service's host makes Millrace's its delegate.
    r.VIRTUAL_SERVICES: Watch(owners=True),
    r.DESTINATION_RULES: _OURS,
    r.NODES: Watch(drop=("status.images", "status.conditions", "status.nodeInfo")),
}
