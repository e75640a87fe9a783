"""Online reads: straight from the store, or through the gateway; both answer columns of Python values."""

from __future__ import annotations

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import httpx
import orjson
import pyarrow as pa

from millrace.sdk import frames
from millrace.sdk.registry import error_of
from millrace.sdk.tabular import Tabular
from millrace_core.api import feature_reference
from millrace_core.api.feature import FeatureType, element_type
from millrace_core.base import timestamps
from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import RejectError, RetryError
from millrace_core.features.online import keys
from millrace_core.features.online.on_demand import Request
from millrace_core.features.online.plan import ReadPlan
from millrace_core.features.online.request import row_count
from millrace_core.features.online.row_reader import NO_ENTITY
from millrace_core.features.types import times
from millrace_core.features.types.conform import ARROW, KEY_ARROW
from millrace_data.online.store import Store

SECONDS = 5.0
STATUS = "__status"


@dataclass(frozen=True)
class OnlineFeatures(Tabular):
    """The result of an online read: equally long columns, the join keys, then the features in the order of the request.

    Attributes:
        values: by column name; None where there is no value.
        statuses: by feature column: PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE.
        event_timestamps: by feature column the event time of the row; None where there is no row.
        types: of the columns, as the definitions declare them.
        expression_errors: for how many rows the expression of a feature failed, by feature column; its value is null
            for them.
    """

    values: Mapping[str, list[Any]]
    statuses: Mapping[str, list[str]] = field(default_factory=dict)
    event_timestamps: Mapping[str, list[datetime | None]] = field(default_factory=dict)
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    expression_errors: Mapping[str, int] = field(default_factory=dict)

    def repeated(self, times: int) -> OnlineFeatures:
        """The same rows so many times: of views without entities all rows are one."""
        return replace(
            self,
            values={name: column * times for name, column in self.values.items()},
            statuses={name: column * times for name, column in self.statuses.items()},
            event_timestamps={name: column * times for name, column in self.event_timestamps.items()},
            expression_errors={name: count * times for name, count in self.expression_errors.items()},
        )

    def to_dict(self, include_statuses: bool = False) -> dict[str, list[Any]]:
        """Values by column name; with ``include_statuses`` also ``<feature>__status``."""
        made = {name: list(column) for name, column in self.values.items()}
        if include_statuses:
            made |= {f"{name}{STATUS}": list(column) for name, column in self.statuses.items()}
        return made

    @property
    def table(self) -> pa.Table:
        """Values as an Arrow table of the declared types."""
        return pa.table({name: pa.array(column, self.types.get(name)) for name, column in self.values.items()})


class Reader(Protocol):
    """A way to read features online."""

    def read(self, plan: ReadPlan, entities: Mapping[str, list[Any]], request: Request, as_of: int) -> OnlineFeatures:
        """Reads the plan's features of the entities, as of a time in microseconds; ``request`` by request field."""


class StoreReader:
    """Reads the store itself.

    Args:
        url: gives the store's URL, which may change where the store is an embedded one.
    """

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._opened: tuple[str, Store] | None = None

    def read(self, plan: ReadPlan, entities: Mapping[str, list[Any]], request: Request, as_of: int) -> OnlineFeatures:
        """One MGET for all views.

        Raises:
            RejectError: an entity or request field has the wrong type. RetryError: the store does not answer.
        """
        rows_wanted = row_count(entities, request)
        wanted = [keys.store_keys(view.definition, entities, rows_wanted) for view in plan.reads]
        store = self._store()
        values: dict[str, list[Any]] = {}
        statuses: dict[str, list[str]] = {}
        event_timestamps: dict[str, list[datetime | None]] = {}
        errors: dict[str, int] = {}
        found = iter(store.rows([key for view in wanted for key in view if key is not None]))
        for view, part in zip(plan.reads, wanted, strict=True):
            rows: list[Any] = [NO_ENTITY if key is None else next(found) for key in part]
            columns = view.reader.read(rows, as_of, request)
            if columns.unknown:
                layouts = store.layouts(view.definition.project, view.definition.view)
                columns = view.reader.read(rows, as_of, request, layouts)
            errors |= view.errors(plan, columns)
            for position, name, column in zip(view.positions, view.features, columns.features, strict=True):
                feature = view.definition.feature[name]
                kind = feature.type
                at = [None if time is None else times.moment(time) for time in columns.times_of(feature)]
                values[plan.names[position]] = _native(kind, column.values)
                statuses[plan.names[position]] = list(column.statuses)
                event_timestamps[plan.names[position]] = at
        return features_of(plan, entities, values, statuses, event_timestamps, errors)

    def _store(self) -> Store:
        url = self._url()
        if self._opened is None or self._opened[0] != url:
            self._opened = url, Store(url, SECONDS)
        return self._opened[1]


class GatewayReader:
    """Reads through the gateway, which alone needs to reach the store.

    Args:
        bearer: what is sent to it.
    """

    def __init__(self, url: str, project: str, bearer: Bearer = OPEN) -> None:
        self._url = f"{url.rstrip('/')}/get-online-features"
        self._project = project
        self._bearer = bearer

    def read(self, plan: ReadPlan, entities: Mapping[str, list[Any]], request: Request, as_of: int) -> OnlineFeatures:  # noqa: ARG002 the gateway reads as of now
        """One request.

        Raises:
            RejectError or NotFoundError: the gateway refuses the request. RetryError: it does not answer.
        """
        features = {
            position: view.definition.feature[feature]
            for view in plan.reads
            for position, feature in zip(view.positions, view.features, strict=True)
        }
        body = {
            "features": plan.refs,
            "entities": entities,
            "request": {name: [_writable(value) for value in values] for name, values in request.items()},
            "project": self._project,
            "full_feature_names": True,
        }
        answer = self._post(orjson.dumps(body, default=_as_json))
        results = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        values, statuses, event_timestamps = {}, {}, {}
        for position, name in enumerate(plan.names):
            result = results[feature_reference.parse(plan.refs[position]).full_name]
            of = features[position]
            values[name] = _from_json(of.type, result["values"])
            statuses[name] = result["statuses"]
            times_ = [timestamps.parse(text) for text in result["event_timestamps"]]
            # The gateway writes 1970 where there is no row; an on-demand feature may have a value without one.
            event_timestamps[name] = [
                at if at.timestamp() or (known != "NOT_FOUND" and not of.on_demand) else None
                for at, known in zip(times_, statuses[name], strict=True)
            ]
        failed = answer["metadata"].get("expression_errors") or {}
        errors = {
            name: failed[full]
            for name, ref in zip(plan.names, plan.refs, strict=True)
            if (full := feature_reference.parse(ref).full_name) in failed
        }
        return features_of(plan, entities, values, statuses, event_timestamps, errors)

    def _post(self, body: bytes) -> dict[str, Any]:
        headers = {"content-type": "application/json", **self._bearer.headers()}
        try:
            response = httpx.post(self._url, content=body, headers=headers, timeout=SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetryError(f"the gateway {self._url} gives no answer: {error}", hint="Check gateway_url=") from error
        if response.is_success:
            return dict(orjson.loads(response.content))
        raise error_of(response, f"the gateway {self._url} gives no answer")


def features_of(
    plan: ReadPlan,
    entities: Mapping[str, list[Any]],
    values: Mapping[str, list[Any]],
    statuses: Mapping[str, list[str]],
    event_timestamps: Mapping[str, list[datetime | None]],
    expression_errors: Mapping[str, int],
) -> OnlineFeatures:
    """The result in the plan's order, with the types that the definitions declare."""
    types = {
        plan.names[position]: ARROW[view.definition.feature[name].type]
        for view in plan.reads
        for position, name in zip(view.positions, view.features, strict=True)
    }
    types |= {key.request_column: KEY_ARROW[key.type] for view in plan.reads for key in view.definition.entities}
    return OnlineFeatures(
        {**entities, **{name: values[name] for name in plan.names}},
        {name: statuses[name] for name in plan.names},
        {name: event_timestamps[name] for name in plan.names},
        types,
        expression_errors,
    )


def entity_columns(
    rows: Sequence[Mapping[str, Any]], plan: ReadPlan, request: Mapping[str, Sequence[Any]] | None
) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Entity rows as columns of join keys, and what they and ``request`` bring by request field.

    Raises:
        RejectError: a row lacks a join key or has another one; names the row.
    """
    known = {*plan.join_keys, *plan.request_fields}
    request_columns = {name: [frames.plain(value) for value in values] for name, values in (request or {}).items()}
    for name in request_columns:
        if name not in plan.request_fields:
            fields = ", ".join(sorted(plan.request_fields)) or "none"
            raise RejectError(
                "no feature reads this", hint=f"The request fields are: {fields}", field=f"request.{name}"
            )
    for index, row in enumerate(rows):
        if not set(plan.join_keys) <= set(row) <= known or set(row) != set(rows[0]):
            raise RejectError(
                f"has {', '.join(map(str, row)) or 'nothing'}, "
                f"expected {', '.join([*plan.join_keys, *plan.request_fields]) or 'nothing'}",
                field=f"entity_rows[{index}]",
            )
    entities = {key: [frames.key(row[key]) for row in rows] for key in plan.join_keys}
    brought = [name for name in plan.request_fields if rows and name in rows[0]]
    return entities, {name: [frames.plain(row[name]) for row in rows] for name in brought} | request_columns


def _native(kind: FeatureType, values: Sequence[Any]) -> list[Any]:
    element = element_type(kind)
    if element is not None:
        return [None if value is None else _native(element, value) for value in values]
    if kind == "timestamp":
        return [None if value is None else times.moment(value) for value in values]
    return list(values)


def _from_json(kind: FeatureType, values: list[Any]) -> list[Any]:
    element = element_type(kind)
    if element is not None:
        return [None if value is None else _from_json(element, value) for value in values]
    if kind == "timestamp":
        return [None if value is None else timestamps.parse(value) for value in values]
    if kind == "bytes":
        return [None if value is None else b64decode(value) for value in values]
    if kind in ("float32", "float64"):
        return [None if value is None else _NOT_FINITE.get(value, value) for value in values]
    return values


_NOT_FINITE: dict[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _writable(value: Any) -> Any:
    """The value with texts for floats that are not finite, for which JSON has no numbers: it would be null."""
    if isinstance(value, list | tuple):
        return [_writable(each) for each in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _as_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return timestamps.render(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if hasattr(value, "item"):  # numpy's scalars
        return value.item()
    raise TypeError
