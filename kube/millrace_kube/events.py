"""Kubernetes Events: one for each thing that happened, found by ``kubectl describe`` and ``kubectl get events``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from millrace_core.api import names
from millrace_core.base import timestamps
from millrace_core.base.errors import MillraceError
from millrace_kube import errors
from millrace_kube.client import Client
from millrace_kube.resources import EVENTS, Object, name_of, namespace_of

_log = logging.getLogger(__name__)

_MAX_NOTE: Final = 1024
COMPONENT: Final = "millrace-operator"


class Recorder:
    """Writes Events. An Event that cannot be written is logged and forgotten: it never fails a reconcile."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock

    async def transition(self, about: Object, condition: dict[str, Any]) -> None:
        """A condition turned: Normal where it is True now, Warning where it is False."""
        kind = "Normal" if condition["status"] == "True" else "Warning"
        identity = [condition["type"], condition["status"], condition["reason"], condition["lastTransitionTime"]]
        note = f"{condition['type']}: {condition['message']}"
        await self.emit(about, kind, condition["reason"], note, identity=identity)

    async def emit(self, about: Object, kind: str, reason: str, note: str, *, identity: object) -> None:
        """One Event.

        Args:
            kind: Normal or Warning.
            identity: what makes it this Event and no other (JSON); a second one with the same identity is not written.
        """
        now = timestamps.render(self._clock().replace(microsecond=0))
        event = _event(about, kind, reason, note, identity=identity, now=now)
        try:
            await self._client.create(EVENTS, event)
        except errors.AlreadyExistsError:
            return
        except errors.LostLeadershipError:
            raise
        except MillraceError as error:
            _log.warning("an Event was lost: %s: %s (%s)", reason, note, error)


def _event(about: Object, kind: str, reason: str, note: str, *, identity: object, now: str) -> Object:
    metadata = about["metadata"]
    place = namespace_of(about) or "default"
    return {
        "apiVersion": EVENTS.api_version,
        "kind": EVENTS.kind,
        "metadata": {
            "name": f"{name_of(about)[:200]}.{names.digest([metadata['uid'], identity])[:16]}",
            "namespace": place,
        },
        "involvedObject": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": name_of(about),
            "namespace": namespace_of(about),
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "type": kind,
        "reason": reason,
        "message": note[:_MAX_NOTE],
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
