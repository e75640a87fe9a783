"""What a stack takes from the machine: programs, environment, and the installed CRDs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from millrace_data.online.program import server
from millrace_local.mesh import envoy
from millrace_local.stack.components import Programs
from millrace_local.stack.processes import MARK
from millrace_local.stack.settings import StackSettings

# The user's own proxies and cluster must not reach components, which get variables of their own.
_DROPPED = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig"})


def programs() -> Programs:
    """The programs that components run.

    Raises:
        ReportError: one is not installed, or not for this machine.
    """
    return Programs(python=sys.executable, store=str(server()), mesh=tuple(envoy.command()))


def environment(settings: StackSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of every component."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.lower() not in _DROPPED and not name.startswith("MILLRACE_")
    }
    return {**kept, MARK: str(settings.root), "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1"}


def packaged_crds() -> Path:
    """The folder of Millrace's own CRDs: in a checkout a link to the generated ones."""
    return Path(__file__).parents[1] / "crds"


def packaged_third_party() -> Path:
    """The folder of small CRDs for the kinds of others that Millrace writes."""
    return Path(__file__).parents[1] / "apiserver" / "thirdparty"
