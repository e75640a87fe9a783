"""Points of metrics: as requests have them, as they are written beside each metric's last one, and their history."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Connection, Row, bindparam, func, insert, select, update

from millrace_core.base.shown import shown
from millrace_services.registry.chunks import chunks
from millrace_services.registry.mlflow import fields
from millrace_services.registry.mlflow.errors import invalid, missing
from millrace_services.registry.mlflow.keys import key as checked_key
from millrace_services.registry.tracking import limits
from millrace_services.registry.tracking_tables import metric_points, run_metrics

_SQLITE: Final = (
    "INSERT INTO metric_points (metric, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
# One statement, whatever their number: psycopg sends rows one by one.
_POSTGRES: Final = (
    "INSERT INTO metric_points (metric, step, timestamp, value, is_nan) "
    "SELECT * FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::float8[], %s::bool[]) ON CONFLICT DO NOTHING"
)
_SEEK_SQLITE: Final = (
    "SELECT (SELECT min(step) FROM metric_points WHERE metric = ? AND step >= target.value) FROM json_each(?) AS target"
)
_SEEK_POSTGRES: Final = (
    "SELECT (SELECT min(step) FROM metric_points WHERE metric = %s AND step >= target) "
    "FROM unnest(%s::bigint[]) AS target"
)
_INT64: Final = 2**63


class Point(NamedTuple):
    """One value of a metric; ``value`` may be no number or infinite, ``timestamp`` is in milliseconds since 1970."""

    key: str
    value: float
    timestamp: int
    step: int


class ModelPoint(NamedTuple):
    """A point that is also a logged model's, measured on a dataset, where it names one."""

    model_id: str
    dataset_name: str
    dataset_digest: str
    point: Point


def of_models(items: Sequence[Mapping[str, Any]], points: Sequence[Point]) -> list[ModelPoint]:
    """Those of a request's points that name a logged model."""
    found = []
    for item, point in zip(items, points, strict=True):
        if item.get("model_id"):
            named = fields.Fields(item)
            name, digest = (limits.short(field, named.text(field)) for field in ("dataset_name", "dataset_digest"))
            found.append(ModelPoint(named.text("model_id"), name, digest, point))
    return found


def parsed(items: Sequence[Any]) -> list[Point]:
    """The points of a request.

    Raises:
        MlflowError: one is none.
    """
    found, keys = [], set[str]()
    for item in items:
        if type(item) is not dict:
            raise invalid(f"Invalid value {shown(item, 40)} for parameter 'metrics': an object is expected.")
        key, value, timestamp = item.get("key"), item.get("value"), item.get("timestamp")
        step = item.get("step", 0)
        if type(key) is not str:
            raise missing("key") if key is None else _wrong(item, "key", key, "a text is expected")
        if key not in keys:
            checked_key("key", key)
            keys.add(key)
        # Nearly always they are what they have to be.
        if type(value) is not float or value - value != 0:
            value = _value(item, value)
        if type(timestamp) is not int or not 0 <= timestamp < _INT64:
            timestamp = _moment(item, timestamp)
        if type(step) is not int or not -_INT64 <= step < _INT64:
            step = _step(item, step)
        found.append(Point(key, value, timestamp, step))
    return found


def _value(item: Mapping[str, Any], given: Any) -> float:
    if given is None:
        raise missing("value")
    made = fields.number(given)
    if made is None:
        raise _wrong(item, "value", given, "specify value as a valid double (64-bit floating point)")
    return made


def _moment(item: Mapping[str, Any], given: Any) -> int:
    if given is None:
        raise missing("timestamp")
    made = fields.integer(given)
    if made is None or made < 0:
        raise _wrong(item, "timestamp", given, "timestamp must be a nonnegative long (64-bit integer)")
    return made


def _step(item: Mapping[str, Any], given: Any) -> int:
    made = 0 if given is None else fields.integer(given)
    if made is None:
        raise _wrong(item, "step", given, "step must be a valid long (64-bit integer)")
    return made


def _wrong(item: Mapping[str, Any], what: str, given: Any, expected: str) -> Exception:
    return invalid(f"Got invalid {what} {shown(given, 40)} for metric {shown(item.get('key'), 80)}: {expected}")


def write(connection: Connection, run: int, points: Sequence[Point]) -> None:
    """Adds points to a run's metrics; those that are there already change nothing."""
    newest: dict[str, Point] = {}
    for point in points:
        before = newest.get(point.key)
        # Nearly always a step says it.
        if before is None or point.step > before.step or (point.step == before.step and later(point, before)):
            newest[point.key] = point
    numbers = _latest(connection, run, newest)
    rows = [
        (numbers[key], step, timestamp, 0.0, True)
        if math.isnan(value)
        else (numbers[key], step, timestamp, value, False)
        for key, value, timestamp, step in points
    ]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_SQLITE, rows)
    else:
        connection.exec_driver_sql(_POSTGRES, tuple(list(each) for each in zip(*rows, strict=True)))


def _latest(connection: Connection, run: int, newest: Mapping[str, Point]) -> dict[str, int]:
    """The numbers of metrics, whose last points are written where these are later."""
    columns = run_metrics.c
    numbers: dict[str, int] = {}
    changed = []
    for chunk in chunks([*newest]):
        wanted = select(columns.id, columns.key, columns.value, columns.timestamp, columns.step)
        held = wanted.where(columns.run == run, columns.key.in_(chunk))
        for number, key, value, timestamp, step in connection.execute(held):
            numbers[key] = number
            if later(newest[key], Point(key, math.nan if value is None else value, timestamp, step)):
                changed.append({"metric": number, **_row(newest[key])})
    if changed:
        connection.execute(update(run_metrics).where(columns.id == bindparam("metric")), changed)
    new = [{"run": run, "key": key, **_row(newest[key])} for key in newest if key not in numbers]
    if new:
        made = insert(run_metrics).returning(columns.id, columns.key)
        numbers |= {key: number for number, key in connection.execute(made, new)}
    return numbers


def _row(point: Point) -> dict[str, Any]:
    value = None if math.isnan(point.value) else point.value
    return {"value": value, "timestamp": point.timestamp, "step": point.step}


def later(one: Point, other: Point) -> bool:
    """Whether a point is the last one of the two: by step, moment and value, of which NaN is the least."""
    if (one.step, one.timestamp) != (other.step, other.timestamp):
        return (one.step, one.timestamp) > (other.step, other.timestamp)
    return one.value > other.value or (math.isnan(other.value) and not math.isnan(one.value))


def metric_number(connection: Connection, run: int, key: str) -> int | None:
    """The number of a run's metric; None where it has none of this key."""
    found: int | None = connection.scalar(
        select(run_metrics.c.id).where(run_metrics.c.run == run, run_metrics.c.key == key)
    )
    return found


def history(connection: Connection, metric: int, most: int, offset: int = 0) -> Sequence[Row[Any]]:
    """The points of a metric in their order: by step, moment and value."""
    ordered = select(metric_points).where(metric_points.c.metric == metric).order_by(*metric_points.primary_key)
    return connection.execute(ordered.limit(most).offset(offset)).all()


def sampled(connection: Connection, metrics: Iterable[int], start: int | None, end: int | None, most: int) -> list[int]:
    """Steps between ``start`` and ``end``: all that some metrics have, or ``most`` evenly spread ones and the last.

    Few steps are counted, and many found by their distance: of a million none but those that are returned is read.
    """
    columns = metric_points.c
    steps: set[int] = set()
    low, high = -_INT64 if start is None else start, _INT64 - 1 if end is None else end
    for metric in metrics:
        mine = (columns.metric == metric, columns.step >= low, columns.step <= high)
        few = connection.scalars(
            select(columns.step).where(*mine).distinct().order_by(columns.step).limit(most + 1)
        ).all()
        if len(few) <= most:
            steps.update(few)
            continue
        last: int = connection.execute(select(func.max(columns.step)).where(*mine)).scalar_one()
        steps.update(_seek(connection, metric, [few[0] + (last - few[0]) * at // most for at in range(most + 1)]))
    ordered = sorted(steps)
    if len(ordered) <= most + 1:
        return ordered
    return sorted({*(ordered[at * len(ordered) // most] for at in range(most)), ordered[-1]})


def _seek(connection: Connection, metric: int, wanted: Sequence[int]) -> list[int]:
    """The first step at or after each of those wanted, which are within those that there are."""
    if connection.dialect.name == "sqlite":
        rows = connection.exec_driver_sql(_SEEK_SQLITE, (metric, orjson.dumps(wanted).decode()))
    else:
        rows = connection.exec_driver_sql(_SEEK_POSTGRES, (metric, list(wanted)))
    return [*{step for (step,) in rows}]


def at_steps(connection: Connection, metric: int, steps: Sequence[int], most: int) -> list[Row[Any]]:
    """The points of a metric at some steps, ordered by step and moment, at most so many."""
    columns = metric_points.c
    found: list[Row[Any]] = []
    for chunk in chunks(steps):
        wanted = select(metric_points).where(columns.metric == metric, columns.step.in_(chunk))
        ordered = wanted.order_by(columns.step, columns.timestamp, columns.value, columns.is_nan)
        found += connection.execute(ordered.limit(most - len(found))).all()
        if len(found) >= most:
            break
    return found
