"""Searches of runs as SQL, in which every value is a bound parameter.

Each condition is a set of runs that an index gives, and runs come in their order from another index, so that a page is
there when it is full. What results are ordered by first decides which index that is: runs that have the value come from
the index of values, and those that lack it, which come last, are another query, asked only where the first ones do not
fill the page. SQLite knows nothing of how many rows have which value, and would often choose otherwise; where it must
not, a column stands as ``column + 0``, which no index has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, Table, case, func, null, select

from millrace_services.registry.mlflow import filters, searching
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.filters import Condition, Key
from millrace_services.registry.mlflow.searching import LISTED, NUMBER, TAGS, TEXT, Attribute, Page
from millrace_services.registry.tracking import limits
from millrace_services.registry.tracking.experiments import lifecycles
from millrace_services.registry.tracking_tables import (
    HEAD,
    run_datasets,
    run_metrics,
    run_params,
    run_tags,
    tracked_datasets,
    tracked_runs,
)

_MOMENT: Final = 2**62
_ATTRIBUTES: Final = {
    "run_id": Attribute(tracked_runs.c.run_id, LISTED),
    "run_name": Attribute(tracked_runs.c.name, LISTED),
    "status": Attribute(tracked_runs.c.status, LISTED),
    "user_id": Attribute(tracked_runs.c.user_id, LISTED),
    "artifact_uri": Attribute(tracked_runs.c.artifact_uri, LISTED),
    "start_time": Attribute(tracked_runs.c.start_time, NUMBER, _MOMENT),
    "end_time": Attribute(tracked_runs.c.end_time, NUMBER, _MOMENT),
}
_ORDER: Final = {name: attribute.column for name, attribute in _ATTRIBUTES.items()}
# Names that MLflow's interface and its older clients have for the same.
_ALIASES: Final = {"created": "start_time", "Created": "start_time", "Start Time": "start_time"} | dict.fromkeys(
    ("run name", "Run name", "Run Name"), "run_name"
)
_ATTRIBUTE: Final = searching.ATTRIBUTES | {"run"}
_METRIC: Final = frozenset({"metric", "metrics"})
_PARAM: Final = frozenset({"param", "params", "parameter", "parameters"})
_DATASET: Final = frozenset({"dataset", "datasets"})
_DATASETS: Final = {
    "name": Attribute(tracked_datasets.c.name, LISTED),
    "digest": Attribute(tracked_datasets.c.digest, LISTED),
    "context": Attribute(run_datasets.c.context, LISTED),
}
_FEW: Final = 2000
_NULLS: Final = frozenset({"IS NULL", "IS NOT NULL"})
_PAIRS: Final = TEXT | _NULLS


class _Runs(NamedTuple):
    """A condition as the runs that an index says it holds for, or, ``negated``, does not."""

    found: Select[Any]
    negated: bool = False

    def condition(self, column: Any) -> ColumnElement[bool]:
        """The condition on a column of runs."""
        made: ColumnElement[bool] = column.not_in(self.found) if self.negated else column.in_(self.found)
        return made


class _Order(NamedTuple):
    """What results are ordered by: a column, or the value of a key in a table of values."""

    column: Column[Any]
    descending: bool
    table: Table | None = None
    key: str = ""


def found_runs(
    connection: Connection, experiment_ids: Sequence[str], text: str, order_by: Sequence[str], view: str, page: Page
) -> Sequence[Row[Any]]:
    """The rows of one page of a search, and one more where there is one.

    Raises:
        RejectError: filter or order mean nothing.
    """
    plain, sets = _conditions(text)
    orders = _orders(order_by)
    numbers = sorted({limits.experiment_number(each) for each in experiment_ids})
    if not numbers:
        return []
    chosen = [_one_of(tracked_runs.c.lifecycle, lifecycles(view)), *plain]
    few = next((each for each in sets if not each.negated and _are_few(connection, each.found)), None)
    chosen += [each.condition(_unindexed(tracked_runs.c.id)) for each in sets if each is not few]
    if few is not None:
        of_few = [few.condition(tracked_runs.c.id), _one_of(_unindexed(tracked_runs.c.experiment), numbers), *chosen]
        query = _ordered(select(tracked_runs).where(*of_few), tracked_runs, [], orders)
        return connection.execute(page.applied(query)).all()
    rows: list[Row[Any]] = []
    skip = page.offset
    for query in _queries(numbers, chosen, orders):
        left = page.size + 1 - len(rows)
        found = connection.execute(query.limit(left).offset(skip)).all()
        rows += found
        if len(found) == left:
            break
        if found:
            skip = 0
        elif skip:
            skip -= connection.execute(select(func.count()).select_from(query.order_by(None).subquery())).scalar_one()
    return rows


def _are_few(connection: Connection, runs: Select[Any]) -> bool:
    """Whether so few runs are in a set that they are found and ordered sooner than any index is gone through."""
    counted = select(func.count()).select_from(runs.limit(_FEW + 1).subquery())
    return connection.execute(counted).scalar_one() <= _FEW


def _queries(
    numbers: Sequence[int], chosen: Sequence[ColumnElement[bool]], orders: Sequence[_Order]
) -> Iterator[Select[Any]]:
    """The results, one query after the other."""
    first, *rest = orders
    by_run = select(tracked_runs).where(_one_of(tracked_runs.c.experiment, numbers), *chosen)
    if first.table is None:
        yield _ordered(by_run, tracked_runs, [], orders)
        return
    by_value = select(tracked_runs).where(_one_of(_unindexed(tracked_runs.c.experiment), numbers), *chosen)
    values = first.table.alias("first_order")
    joined = tracked_runs.join(values, (values.c.run == tracked_runs.c.id) & (values.c.key == first.key))
    named = [values.c.value] if first.table is run_metrics else [values.c.head, values.c.value]
    lead = [column.desc() if first.descending else column.asc() for column in named]
    yield _ordered(by_value.where(values.c.value.is_not(null())), joined, lead, rest)
    if first.table is run_metrics:  # what is no number
        yield _ordered(by_value.where(values.c.value.is_(null())), joined, [], rest)
    has = select(first.table.c.run).where(first.table.c.key == first.key)
    yield _ordered(by_run.where(_unindexed(tracked_runs.c.id).not_in(has)), tracked_runs, [], rest)


def _one_of(column: Any, values: Sequence[Any]) -> ColumnElement[bool]:
    """An index gives an order only for one value."""
    made: ColumnElement[bool] = column == values[0] if len(values) == 1 else column.in_(values)
    return made


def _unindexed(column: Column[int]) -> ColumnElement[int]:
    return column + 0


def _conditions(text: str) -> tuple[list[ColumnElement[bool]], list[_Runs]]:
    """The conditions on columns of runs, and those that are sets of runs."""
    plain: list[ColumnElement[bool]] = []
    sets: list[_Runs] = []
    about_datasets: list[ColumnElement[bool]] = []
    for condition in filters.parse(text):
        entity = condition.key.entity
        if entity in _DATASET:
            about_datasets.append(searching.attribute(condition, _DATASETS))
        elif entity in _ATTRIBUTE:
            named = _ALIASES.get(condition.key.name, condition.key.name)
            plain.append(searching.attribute(condition._replace(key=Key("", named)), _ATTRIBUTES))
        elif entity in _METRIC:
            sets.append(_metric(condition))
        elif entity in _PARAM or entity in TAGS:
            sets.append(_pair(condition, run_params if entity in _PARAM else run_tags))
        else:
            raise _no_entity(entity)
    if about_datasets:
        joined = run_datasets.join(tracked_datasets, tracked_datasets.c.id == run_datasets.c.dataset)
        sets.append(_Runs(select(run_datasets.c.run).select_from(joined).where(*about_datasets)))
    return plain, sets


def _metric(condition: Condition) -> _Runs:
    key, comparator, value = condition
    searching.require(f"metric {key.name}", comparator, NUMBER)
    compared = searching.compared(run_metrics.c.value, comparator, searching.number(key, value))
    return _Runs(select(run_metrics.c.run).where(run_metrics.c.key == key.name, compared))


def _pair(condition: Condition, table: Table) -> _Runs:
    key, comparator, value = condition
    searching.require(f"{key.entity} {key.name}", comparator, _PAIRS)
    having = select(table.c.run).where(table.c.key == key.name)
    if comparator in _NULLS:
        return _Runs(having, negated=comparator == "IS NULL")
    text = searching.text(key, value)
    if comparator == "=":
        having = having.where(table.c.head == text[:HEAD])
    return _Runs(having.where(searching.compared(table.c.value, comparator, text)))


def _orders(order_by: Sequence[str]) -> list[_Order]:
    found: list[_Order] = []
    for given in order_by:
        key, descending = filters.parse_order(given)
        if key.entity in _METRIC:
            found.append(_Order(run_metrics.c.value, descending, run_metrics, key.name))
        elif key.entity in _PARAM or key.entity in TAGS:
            table = run_params if key.entity in _PARAM else run_tags
            found.append(_Order(table.c.value, descending, table, key.name))
        elif key.entity in _ATTRIBUTE:
            name = _ALIASES.get(key.name, key.name)
            if name not in _ORDER:
                raise invalid(f"Invalid order by key '{key.name}' specified. Valid keys are {sorted(_ORDER)}")
            found.append(_Order(_ORDER[name], descending))
        else:
            raise _no_entity(key.entity)
    filters.check_order([f"{each.column}.{each.key}" for each in found])
    named = {each.column for each in found}
    last = (_Order(tracked_runs.c.start_time, True), _Order(tracked_runs.c.run_id, False))
    return found + [each for each in last if each.column not in named]


def _ordered(query: Select[Any], source: Any, lead: Sequence[Any], orders: Sequence[_Order]) -> Select[Any]:
    """The query in its order: by ``lead``, then by ``orders``; values that are missing come last in both directions."""
    clauses = [*lead]
    for at, (column, descending, table, key) in enumerate(orders):
        value: Any = column
        if table is not None:
            joined = table.alias(f"order_{at}")
            value = joined.c.value
            source = source.outerjoin(joined, (joined.c.run == tracked_runs.c.id) & (joined.c.key == key))
            clauses.append(case((joined.c.run.is_(null()), 2), (value.is_(null()), 1), else_=0))
        elif column.nullable:
            clauses.append(case((value.is_(null()), 1), else_=0))
        clauses.append(value.desc() if descending else value.asc())
    return query.select_from(source).order_by(*clauses)


def _no_entity(entity: str) -> Exception:
    known = ("attribute", "dataset", "metric", "parameter", "tag")
    return invalid(f"Invalid entity type '{entity}'. Valid values are {known}")
