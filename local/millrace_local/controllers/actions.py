"""The actions that a plan may hold, and their executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from millrace_kube.client import Client
from millrace_kube.compare import merge_patch
from millrace_kube.errors import AbsentError, AlreadyExistsError, ApiError, RefusedError
from millrace_kube.events import Recorder
from millrace_kube.informer import Informers
from millrace_kube.resources import Object, Resource


@dataclass(frozen=True)
class Create:
    """Create ``body``. Its name is deterministic, so one that exists already is the result of this very action."""

    resource: Resource
    body: Object


@dataclass(frozen=True)
class Change:
    """Turn ``before`` into ``after`` by a merge patch of the differences; none means no request at all.

    The patch carries the resource version of ``before``: a plan made from a late copy is refused, never half right.
    """

    resource: Resource
    before: Object
    after: Object
    subresource: str = ""


@dataclass(frozen=True)
class Delete:
    """Delete this very object (by uid)."""

    resource: Resource
    target: Object
    propagation: str = "Background"


@dataclass(frozen=True)
class Bind:
    """Place the pod on the node."""

    pod: Object
    node: str


@dataclass(frozen=True)
class EmitEvent:
    """Write an Event about ``regarding``."""

    regarding: Object
    reason: str
    message: str
    kind: Literal["Normal", "Warning"] = "Normal"


Action = Create | Change | Delete | Bind | EmitEvent


@dataclass(frozen=True)
class ActionPlan:
    """What to do now, in this order, and after how many seconds time alone makes it worth planning again."""

    actions: tuple[Action, ...] = ()
    again: float | None = None


def soonest(*delays: float | None) -> float | None:
    """The shortest of the delays that are not None, never negative."""
    return min((max(0.0, delay) for delay in delays if delay is not None), default=None)


# By a quota, or a rule of the cluster.
_FORBIDDEN = 403


class Executor:
    """Carries out actions, and puts the answers into the stores at once, so that the next plan knows of them."""

    def __init__(self, client: Client, informers: Informers, recorder: Recorder) -> None:
        self._client = client
        self._informers = informers
        self._recorder = recorder

    async def perform(self, actions: Sequence[Action]) -> None:
        """Carries out ``actions`` in order and stops at the first refusal.

        Raises:
            ApiError: a write was refused; what is gone or there already is no refusal.
        """
        for action in actions:
            if isinstance(action, EmitEvent):
                self._recorder.enqueue(action.regarding, action.kind, action.reason, action.message)
                continue
            try:
                await self._write(action)
            except ApiError as error:
                if isinstance(error, (AbsentError, AlreadyExistsError)):
                    continue
                if isinstance(action, Create) and (isinstance(error, RefusedError) or error.status == _FORBIDDEN):
                    self._report_to_owner(action, error)
                raise

    def _report_to_owner(self, action: Create, error: ApiError) -> None:
        """Writes an Event about the owner of a child that the API server refuses (a quota, a rule)."""
        body = action.body["metadata"]
        for owner in body.get("ownerReferences") or []:
            regarding = {**owner, "metadata": {**owner, "namespace": body.get("namespace", "")}}
            self._recorder.enqueue(regarding, "Warning", "FailedCreate", f"Error creating: {error.message}")

    async def _write(self, action: Create | Change | Delete | Bind) -> None:
        if isinstance(action, Create):
            made = await self._client.create(action.resource, action.body)
            self._informers.of(action.resource).upsert(made)
        elif isinstance(action, Change):
            await self._change(action)
        elif isinstance(action, Delete):
            metadata = action.target["metadata"]
            await self._client.delete(
                action.resource,
                metadata.get("namespace", ""),
                metadata["name"],
                uid=metadata["uid"],
                propagation=action.propagation,
            )
        else:
            metadata = {key: action.pod["metadata"][key] for key in ("name", "namespace", "uid")}
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": metadata,
                "target": {"apiVersion": "v1", "kind": "Node", "name": action.node},
            }
            path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
            await self._client.request("POST", path, body=binding)

    async def _change(self, action: Change) -> None:
        patch = merge_patch(action.before, action.after)
        if not patch:
            return
        metadata = action.before["metadata"]
        patch.setdefault("metadata", {})["resourceVersion"] = metadata["resourceVersion"]
        changed = await self._client.patch(
            action.resource,
            metadata.get("namespace", ""),
            metadata["name"],
            patch,
            subresource=action.subresource,
        )
        self._informers.of(action.resource).upsert(changed)
