"""The body of ``POST /push``: Feast's form or an Arrow stream, checked."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson
import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown
from millrace_core.features.online import arrow_stream, feast_form
from millrace_core.features.online.ipc_limits import Stream
from millrace_core.features.online.request import json_type

# What names the view; the last is of Feast's other route.
_VIEW: Final = ("push_source_name", "view", "feature_view_name")
TO: Final = ("online", "offline", "online_and_offline")
# Feast's client sends the times under these names, whatever the source calls them.
FEAST_EVENT, FEAST_CREATED = "event_timestamp", "created"


class PushRequest(NamedTuple):
    """A checked push.

    Attributes:
        project: the namespace of the view.
        view: which rows are pushed to.
        to: one of ``TO``.
        id: what tells this push from others; empty where the client gave none.
        columns: the rows: lists of JSON values by column, or a table.
        view_field: what the body calls the view.
        feast: whether values have the forms of Feast's clients, who do not look at what became of single rows: so all
            fit, or none is taken.
    """

    project: str
    view: str
    to: str
    id: str
    columns: dict[str, list[Any]] | pa.Table
    view_field: str = "push_source_name"
    feast: bool = False

    @property
    def online(self) -> bool:
        """Whether rows go to the online store."""
        return self.to != "offline"

    @property
    def offline(self) -> bool:
        """Whether rows go to the view's log."""
        return self.to != "online"


def from_json(body: bytes, default_project: str, key: str, *, feast: bool = False) -> PushRequest:
    """Reads the JSON body; ``key`` is the header Idempotency-Key.

    Raises:
        RejectError: the body is no such request; names the field, what came and what is expected.
    """
    try:
        document = feast_form.loads(body) if feast else orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RejectError(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise RejectError(f"the body is {json_type(document)}, an object is expected")
    columns = document.get("df")
    if not isinstance(columns, dict) or not all(isinstance(column, list) for column in columns.values()):
        raise RejectError("expected one list of values per column", hint='Send "df": {"id": [1]}', field="df")
    return _request(document, columns, default_project, key)._replace(feast=feast)


def from_stream(stream: Stream, default_project: str, key: str) -> PushRequest:
    """Reads an Arrow stream. Arguments and errors are those of ``from_json``."""
    return _request(*arrow_stream.decode(stream), default_project, key)


def _request(document: dict[str, Any], columns: Any, default_project: str, key: str) -> PushRequest:
    field = next((name for name in _VIEW if document.get(name) is not None), _VIEW[0])
    view = _text(document, field)
    if not view:
        raise RejectError("the name of a feature view is expected", field=field)
    to = _text(document, "to") or "online"
    if to not in TO:
        raise RejectError(f"{shown(to, 100)} came, one of {', '.join(TO)} is expected", field="to")
    project, name = _text(document, "project") or default_project, _text(document, "id") or key
    return PushRequest(project, view, to, name, columns, field)


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RejectError(f"{json_type(value)} came, a string is expected", field=name)
    return value
