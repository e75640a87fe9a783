"""Labels, annotations and the deterministic names of children. All of them are made here."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import orjson

from millrace_core.api.group import GROUP

# What Kubernetes lets be a name everywhere.
LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")

FIELD_MANAGER: Final = "millrace"

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
VIEW: Final = f"{GROUP}/view"
DEPLOYMENT: Final = f"{GROUP}/deployment"
SERVICE: Final = f"{GROUP}/service"
REVISION: Final = f"{GROUP}/revision"
EXPERIMENT: Final = f"{GROUP}/experiment"
GATED: Final = f"{GROUP}/gated"  # on a gate Job and its pods, which no Service and no budget is to find
PROJECT: Final = f"{GROUP}/project"  # the owner's namespace, on a child outside of it

# Annotations.
CHAMPION: Final = f"{GROUP}/champion"
APPLIED_HASH: Final = f"{GROUP}/applied"
RUN: Final = f"{GROUP}/run"  # what a materialization Job is for: schedule, backfill, command, purge
RENDERED: Final = f"{GROUP}/rendered"  # digest of what a Job's pods run, and where, see featureview/desired.py
DEFINITION: Final = f"{GROUP}/definition"  # the definition that a Job runs, see featureview/progress.py
INTERVAL: Final = f"{GROUP}/interval"  # start/end that a Job was made to cover

# Secret with the online store's URL, for the Jobs of a namespace's FeatureViews. One name, so that RBAC can name it.
STORE_SECRET: Final = "millrace-store-url"  # noqa: S105 a name

# Headers of a request that say what an Experiment did with it.
ARM_HEADER: Final = "x-millrace-arm"
EXPERIMENT_HEADER: Final = "x-millrace-experiment"
UNIT_HEADER: Final = "x-millrace-unit"
# Whose traffic a mesh asks about, as namespace/service.
SERVICE_HEADER: Final = "x-millrace-service"
# The rule of a route for requests that have a unit and no arm: a mesh that can asks the gateway for the arm.
ASSIGNED_RULE: Final = "assigned"
# Where it asks, with anything behind it.
CHECK_PATH: Final = "/assign/check"
# Of an answer: what the cache of predictions said.
CACHE_HEADER: Final = "x-millrace-cache"


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys), in hex: stable over processes and versions of Python."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def short_hash(value: Any) -> str:
    """The first 8 hex digits of ``digest``: enough to tell the children of one object apart."""
    return digest(value)[:8]


def cron_job(view: str) -> str:
    """CronJob of a FeatureView: at most 52 characters for a valid view name."""
    return f"fv-{view}"


def one_shot_job(view: str, identity: Any) -> str:
    """Backfill or command Job of a FeatureView, named by what it does: at most 63 characters."""
    return f"fv-{view}-{short_hash(identity)}"


def purge_job(namespace: str, view: str, uid: str, attempt: int) -> str:
    """Job in the operator's namespace that deletes the online rows of a deleted FeatureView."""
    return f"fv-purge-{digest([namespace, view, uid])[:16]}-{attempt}"


def gate_job(deployment: str, identity: Any) -> str:
    """Job that judges a revision of a ModelDeployment, named by what is judged: at most 63 characters."""
    return f"{deployment}-gates-{short_hash(identity)}"


# Ends of the names of the Services that a service has beside its own.
_ARMS: Final = "-arms"
_PREVIEW: Final = "-preview"
BESIDE: Final = (_ARMS, _PREVIEW)


def arms_service(service: str) -> str:
    """The Service that selects all pods of a service, champion's or not; host of the subsets."""
    return f"{service}{_ARMS}"


def preview_service(service: str) -> str:
    """The Service that leads to what is to take a service's traffic next, while there is such a thing."""
    return f"{service}{_PREVIEW}"


def services_beside(service: str) -> tuple[str, ...]:
    """Names of the Services that a service has, or may have, beside its own."""
    return tuple(f"{service}{end}" for end in BESIDE)


def cluster_host(service: str, namespace: str) -> str:
    """Fully qualified name of a Service inside the cluster."""
    return f"{service}.{namespace}.svc.cluster.local"
