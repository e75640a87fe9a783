"""Online reads: straight from the store, or through the gateway; both answer columns of Python values."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import httpx
import orjson
import pyarrow as pa
import redis

from millrace.api.featureview import ScalarType
from millrace.base import timestamps
from millrace.base.errors import NotFoundError, RejectError, RetryError
from millrace.features import keys, times
from millrace.features.reading import layouts_of
from millrace.gateway.plan import Plan

SECONDS = 5.0
_BAD_REQUEST = 400
_NOT_FOUND = 404
_OK = 200


@dataclass(frozen=True)
class OnlineFeatures:
    """What an online read answered: equally long columns, the join keys and then the features as they were asked for.

    Attributes:
        values: by column name; None where there is no value.
        statuses: by feature name: PRESENT, NULL_VALUE, NOT_FOUND or OUTSIDE_MAX_AGE.
    """

    values: Mapping[str, list[Any]]
    statuses: Mapping[str, list[str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, list[Any]]:
        """Values by column name."""
        return {name: list(column) for name, column in self.values.items()}

    def to_arrow(self) -> pa.Table:
        """Values as an Arrow table."""
        return pa.table({name: pa.array(column) for name, column in self.values.items()})


class Reader(Protocol):
    """A way to read features online."""

    def read(self, plan: Plan, entities: Mapping[str, list[Any]], as_of: int) -> OnlineFeatures:
        """Reads the plan's features of the entities, as of a moment in microseconds."""


class StoreReader:
    """Reads the store itself."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, socket_timeout=SECONDS, socket_connect_timeout=SECONDS)
        self._url = url

    def read(self, plan: Plan, entities: Mapping[str, list[Any]], as_of: int) -> OnlineFeatures:
        """One MGET for all views.

        Raises:
            RejectError: an entity has the wrong type. RetryError: the store does not answer.
        """
        wanted = [keys.store_keys(view.definition, entities) for view in plan.reads]
        try:
            flat = [key for view in wanted for key in view if key is not None]
            found = iter(self._redis.mget(flat) if flat else [])
            values, statuses = {}, {}
            for view, part in zip(plan.reads, wanted, strict=True):
                rows: list[Any] = [None if key is None else next(found) for key in part]
                columns = view.reader.read(rows, as_of)
                if columns.unknown:
                    meta = self._redis.hgetall(keys.meta(view.definition.project, view.definition.view))
                    columns = view.reader.read(rows, as_of, layouts_of(cast("dict[bytes, bytes]", meta)))
                for position, name, column in zip(view.positions, view.features, columns.features, strict=True):
                    kind = view.definition.feature[name].type
                    values[plan.names[position]] = _native(kind, column.values)
                    statuses[plan.names[position]] = list(column.statuses)
        except redis.RedisError as error:
            raise RetryError(f"the online store gives no answer: {error}", hint="Check online=") from error
        ordered = {name: values[name] for name in plan.names}
        return OnlineFeatures({**entities, **ordered}, {name: statuses[name] for name in plan.names})


class GatewayReader:
    """Reads through the gateway, which alone needs to reach the store."""

    def __init__(self, url: str, project: str) -> None:
        self._url = f"{url.rstrip('/')}/get-online-features"
        self._project = project

    def read(self, plan: Plan, entities: Mapping[str, list[Any]], as_of: int) -> OnlineFeatures:  # noqa: ARG002 the gateway reads as of now
        """One request.

        Raises:
            RejectError or NotFoundError: the gateway refuses the request. RetryError: it does not answer.
        """
        named = {
            position: f"{view.definition.view}:{feature}"
            for view in plan.reads
            for position, feature in zip(view.positions, view.features, strict=True)
        }
        body = {
            "features": [named[position] for position in range(len(plan.names))],
            "entities": entities,
            "project": self._project,
            "full_feature_names": True,
        }
        answer = self._post(orjson.dumps(body, default=_as_json))
        results = dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))
        values, statuses = {}, {}
        for position, name in enumerate(plan.names):
            view, feature = named[position].split(":")
            result = results[f"{view}__{feature}"]
            kind = next(read for read in plan.reads if read.definition.view == view).definition.feature[feature].type
            values[name] = _from_json(kind, result["values"])
            statuses[name] = result["statuses"]
        return OnlineFeatures({**entities, **values}, statuses)

    def _post(self, body: bytes) -> dict[str, Any]:
        try:
            answer = httpx.post(self._url, content=body, timeout=SECONDS)
        except httpx.HTTPError as error:
            raise RetryError(f"the gateway {self._url} gives no answer: {error}", hint="Check gateway_url=") from error
        if answer.status_code == _OK:
            return dict(orjson.loads(answer.content))
        try:
            said = str(orjson.loads(answer.content)["error"])
        except (ValueError, KeyError, TypeError):
            said = answer.text[:200]
        kinds = {_BAD_REQUEST: RejectError, _NOT_FOUND: NotFoundError}
        raise kinds.get(answer.status_code, RetryError)(said)


def entity_columns(rows: Sequence[Mapping[str, Any]], join_keys: Sequence[str]) -> dict[str, list[Any]]:
    """Entity rows as columns.

    Raises:
        RejectError: no rows, or a row lacks a join key or has another one; names the row.
    """
    for index, row in enumerate(rows):
        if set(row) != set(join_keys):
            raise RejectError(
                f"has {', '.join(row) or 'nothing'}, expected {', '.join(join_keys)}", field=f"entity_rows[{index}]"
            )
    return {key: [row[key] for row in rows] for key in join_keys}


def _native(kind: ScalarType, values: Sequence[Any]) -> list[Any]:
    if kind == "timestamp":
        return [None if value is None else times.moment(value) for value in values]
    return list(values)


def _from_json(kind: ScalarType, values: list[Any]) -> list[Any]:
    if kind == "timestamp":
        return [None if value is None else timestamps.parse(value) for value in values]
    if kind == "bytes":
        return [None if value is None else b64decode(value) for value in values]
    if kind in ("float32", "float64"):
        return [None if value is None else _NOT_FINITE.get(value, value) for value in values]
    return values


_NOT_FINITE: dict[Any, float] = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _as_json(value: Any) -> Any:
    if hasattr(value, "item"):  # numpy's scalars
        return value.item()
    raise TypeError
