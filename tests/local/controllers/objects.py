"""Small objects for the controllers' tests."""

from __future__ import annotations

from typing import Any

Obj = dict[str, Any]


def template(image: str = "millrace/materialize:1", **spec: Any) -> Obj:
    """A pod template of one container."""
    container = {"name": "main", "image": image, "command": ["true"]}
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container], **spec}}


def deployment(replicas: int = 3, *, image: str = "millrace/materialize:1", **spec: Any) -> Obj:
    """A Deployment named web."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": template(image),
            **spec,
        },
    }


def rolling(surge: int | str, unavailable: int | str) -> Obj:
    """A rolling update strategy."""
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def job(**spec: Any) -> Obj:
    """A Job named train."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train"},
        "spec": {"template": template(restartPolicy=spec.pop("restartPolicy", "Never")), **spec},
    }


def cron_job(schedule: str = "*/10 * * * *", **spec: Any) -> Obj:
    """A CronJob named nightly."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": job()["spec"]}, **spec},
    }
