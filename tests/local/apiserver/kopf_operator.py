"""A small kopf operator that the tests run as a process of its own."""

from __future__ import annotations

from typing import Any

import kopf


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.level = 20
    settings.peering.mandatory = True


@kopf.on.create("widgets")
def create(body: Any, **_: Any) -> dict[str, str]:
    kopf.info(body, reason="Made", message="made by the operator")
    return {"said": "hello"}


@kopf.on.update("widgets", field="spec.size")
def resize(new: Any, patch: Any, **_: Any) -> None:
    patch.status["size"] = new


@kopf.on.delete("widgets")
def delete(body: Any, **_: Any) -> None:
    kopf.info(body, reason="Unmade", message="unmade by the operator")
