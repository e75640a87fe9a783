"""Get, list and watch."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from millrace_core.schema.errors import forbidden
from millrace_local.apiserver.errors import (
    bad_request,
    expired,
    invalid,
    not_found,
    too_large_resource_version,
)
from millrace_local.apiserver.negotiation import representation_of
from millrace_local.apiserver.registry import ResourceRegistry
from millrace_local.apiserver.representations import Representation
from millrace_local.apiserver.request import Request, RequestTarget, Response, Stream
from millrace_local.apiserver.selectors import Matches, matcher
from millrace_local.apiserver.store import ObjectStore, StoreEntry, WatchEvent
from millrace_local.apiserver.watching import Watcher, WatchHub

#: The number of lists kept for clients that are still paging through them.
_SNAPSHOTS = 64
_WATCH_SECONDS = 1800.0


class _Snapshot(NamedTuple):
    revision: int
    entries: Sequence[StoreEntry]


class ObjectReader:
    """Serves get, list and watch, in the representation that the Accept header asks for."""

    def __init__(self, store: ObjectStore, registry: ResourceRegistry, hub: WatchHub) -> None:
        self._store = store
        self._registry = registry
        self._hub = hub
        self._snapshots: OrderedDict[int, _Snapshot] = OrderedDict()
        self._next_snapshot = 0

    def get(self, request: Request, target: RequestTarget) -> Response:
        resource = target.resource
        entry = self._store.get(resource.storage, target.namespace, target.name)
        if entry is None:
            raise not_found(resource.plural, resource.group, target.name)
        self._check_revision(request)
        form = representation_of(request, resource)
        return Response(form.one(entry), content_type=form.content_type)

    def listing(self, request: Request, target: RequestTarget) -> Response:
        """The objects of a resource, all at once or page by page."""
        form = representation_of(request, target.resource)
        matches = self._matcher(request, target)
        limit = request.number("limit") or 0
        token = request.query.get("continue", "")
        if token:
            snapshot, start = self._resume(token, request)
        else:
            self._check_revision(request, listing=True)
            entries = self._store.entries(target.resource.storage, target.namespace)
            chosen = entries if matches is None else [entry for entry in entries if matches(entry)]
            snapshot, start = _Snapshot(self._store.revision, chosen), 0
        page = snapshot.entries[start : start + limit] if limit else snapshot.entries[start:]
        meta: dict[str, Any] = {"resourceVersion": str(snapshot.revision)}
        left = len(snapshot.entries) - start - len(page)
        if left:
            meta["continue"] = self._token(snapshot, start + len(page), token)
            if matches is None:
                meta["remainingItemCount"] = left
        return Response(form.many(page, meta), content_type=form.content_type)

    def _token(self, snapshot: _Snapshot, start: int, previous: str) -> str:
        if previous:
            number = orjson.loads(base64.urlsafe_b64decode(previous))["snapshot"]
        else:
            self._next_snapshot += 1
            number = self._next_snapshot
            self._snapshots[number] = snapshot
            if len(self._snapshots) > _SNAPSHOTS:
                self._snapshots.popitem(last=False)
        content = {"v": "meta.k8s.io/v1", "rv": snapshot.revision, "snapshot": number, "start": start}
        return base64.urlsafe_b64encode(orjson.dumps(content)).decode()

    def _resume(self, token: str, request: Request) -> tuple[_Snapshot, int]:
        if request.query.get("resourceVersion", "0") not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        try:
            content = orjson.loads(base64.urlsafe_b64decode(token))
            number, revision, start = content["snapshot"], content["rv"], content["start"]
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise bad_request(f"continue key is not valid: {token!r}") from None
        snapshot = self._snapshots.get(number)
        if snapshot is None or snapshot.revision != revision:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new "
                "list without the continue parameter."
            )
        return snapshot, start

    def _matcher(self, request: Request, target: RequestTarget) -> Matches | None:
        fields = request.query.get("fieldSelector", "")
        if target.name:
            fields = f"metadata.name={target.name}" + (f",{fields}" if fields else "")
        labels = request.query.get("labelSelector", "")
        return matcher(labels, fields, self._registry.selectable(target.resource))

    def _check_revision(self, request: Request, *, listing: bool = False) -> None:
        text = request.query.get("resourceVersion", "")
        match = request.query.get("resourceVersionMatch", "") if listing else ""
        if match not in ("", "Exact", "NotOlderThan"):
            raise bad_request(f'resourceVersionMatch: unsupported value "{match}": supported are Exact, NotOlderThan')
        if match and not text:
            raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
        requested = _revision(text)
        if requested > self._store.revision:
            raise too_large_resource_version(requested, self._store.revision)
        if match == "Exact" and requested != self._store.revision:
            raise expired(f"The resourceVersion for the provided list is too old: {requested}")

    def watch(self, request: Request, target: RequestTarget) -> Stream:
        """The changes of a resource after a revision."""
        resource = target.resource
        form = representation_of(request, resource)
        text = request.query.get("resourceVersion", "")
        bookmarks = request.flag("allowWatchBookmarks")
        initial = self._initial_wanted(request, text)
        requested = _revision(text)
        if requested > self._store.revision:
            raise too_large_resource_version(requested, self._store.revision)
        watcher = Watcher(
            namespace=target.namespace,
            matches=self._matcher(request, target),
            encode=form.event,
            bookmark=form.bookmark if bookmarks else None,
            user_agent=request.user_agent,
        )
        pieces: Iterable[bytes] = ()
        if initial:
            pieces = self._initial_events(watcher, resource.storage, form, sent=request.flag("sendInitialEvents"))
        elif text not in ("", "0"):
            missed = self._store.since(resource.storage, requested)
            if missed is None:
                pieces = [form.error(expired(f"too old resource version: {requested} ({self._store.revision})"))]
                watcher.closed = True
            for event in missed or ():
                watcher.offer(event)
        seconds = request.number("timeoutSeconds")
        timeout = float(seconds) if seconds else _WATCH_SECONDS
        self._hub.add(resource.storage, watcher)
        stream = self._hub.stream(resource.storage, watcher, pieces, timeout)
        return Stream(stream, content_type=form.stream_type, on_gone=watcher.close)

    @staticmethod
    def _initial_wanted(request: Request, text: str) -> bool:
        match = request.query.get("resourceVersionMatch", "")
        if "sendInitialEvents" not in request.query:
            if match:
                raise _list_options_error(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            return text in ("", "0")
        if match != "NotOlderThan":
            raise _list_options_error(
                "resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            )
        if not request.flag("sendInitialEvents"):
            return False
        if not request.flag("allowWatchBookmarks"):
            raise _list_options_error(
                "allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true"
            )
        return True

    def _initial_events(self, watcher: Watcher, storage: str, form: Representation, *, sent: bool) -> list[bytes]:
        pieces = [
            form.event("ADDED", WatchEvent(entry.revision, "ADDED", entry, None))
            for entry in self._store.entries(storage, watcher.namespace)
            if watcher.matches is None or watcher.matches(entry)
        ]
        if sent:
            pieces.append(form.bookmark(self._store.revision, initial_end=True))
        return pieces


def _list_options_error(path: str, why: str) -> Exception:
    return invalid("ListOptions", "meta.k8s.io", "", [forbidden(path, why)])


def _revision(text: str) -> int:
    if not text:
        return 0
    if not text.isdigit():
        raise bad_request(f'invalid resource version: Invalid value: "{text}": must be an unsigned integer')
    return int(text)
