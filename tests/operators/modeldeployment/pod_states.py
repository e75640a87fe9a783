"""Pods as a kubelet reports them."""

from __future__ import annotations

from typing import Any

import orjson

DIGEST = "sha256:" + "ab" * 32


def pod(
    name: str, *, init: dict[str, Any] | None = None, main: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    found: dict[str, Any] = dict(status)
    if init is not None:
        found["initContainerStatuses"] = [{"name": "fetch", **init}]
    if main is not None:
        found["containerStatuses"] = [{"name": "serve", **main}]
    return {"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": found}


def ended(code: int, message: object = "", reason: str = "Error") -> dict[str, Any]:
    text = message if isinstance(message, str) else orjson.dumps(message).decode()
    return {"terminated": {"exitCode": code, "message": text, "reason": reason}}


def serving(name: str = "p", digest: str = DIGEST) -> dict[str, Any]:
    return pod(
        name,
        init={"state": ended(0, {"digest": digest, "bytes": 1048576}, "Completed")},
        main={"state": {"running": {}}},
        conditions=[{"type": "Ready", "status": "True"}],
    )


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


def error(message: str, reason: str = "NotFound", field: str = "spec.model.uri") -> dict[str, Any]:
    return {"error": {"reason": reason, "message": message, "field": field}}
