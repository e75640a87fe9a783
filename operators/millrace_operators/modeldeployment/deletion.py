"""When a ModelDeployment that is being deleted may go: once traffic has gone elsewhere, or has nowhere to go.

The API server is asked right before it goes. What becomes ready after that look takes over when the route is written
next; for so long plain clients may find nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from millrace_core.api import names
from millrace_operators.routing.state import LiveRoute, RouteTarget


def held_by(name: str, live: LiveRoute, targets: Sequence[RouteTarget]) -> tuple[str, bool]:
    """What still leads to the deployment while another could take over, and whether it is an Experiment; empty: go.

    Args:
        live: the service's route as it is.
        targets: the deployments of the service, this one among them.
    """
    if not any(target.ready and not target.deleting for target in targets if target.name != name):
        return "", False
    if not _leads_to(name, live):
        return "", False
    experiment = _experiment(live)
    if experiment:
        return f"the Experiment {experiment} routes to it; end it by a promote or abort command, or delete it", True
    return "the route still leads to it", False


def _leads_to(name: str, live: LiveRoute) -> bool:
    selector = ((live.stable or {}).get("spec") or {}).get("selector") or {}
    subsets = ((live.rule or {}).get("spec") or {}).get("subsets") or []
    return selector.get(names.DEPLOYMENT) == name or any(subset.get("name") == name for subset in subsets)


def _experiment(live: LiveRoute) -> str:
    return str(((live.virtual or {}).get("metadata", {}).get("labels") or {}).get(names.EXPERIMENT, ""))
