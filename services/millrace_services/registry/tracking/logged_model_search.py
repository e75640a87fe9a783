"""Searches of logged models as SQL: what may be asked of them, and in which order results come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, case, func, or_, select

from millrace_services.registry.mlflow import filters, searching
from millrace_services.registry.mlflow.errors import invalid
from millrace_services.registry.mlflow.filters import Condition, Key
from millrace_services.registry.mlflow.searching import ATTRIBUTES, LISTED, NUMBER, TAGS, TEXT, Attribute
from millrace_services.registry.tracking import limits
from millrace_services.registry.tracking_tables import (
    logged_model_metrics,
    logged_model_params,
    logged_model_tags,
    logged_models,
)

_MOMENT: Final = 2**62
_ATTRIBUTES: Final = {
    "name": Attribute(logged_models.c.name, LISTED),
    "model_id": Attribute(logged_models.c.model_id, LISTED),
    "model_type": Attribute(logged_models.c.model_type, LISTED),
    "status": Attribute(logged_models.c.status, LISTED),
    "source_run_id": Attribute(logged_models.c.source_run_id, LISTED),
    "creation_timestamp": Attribute(logged_models.c.created, NUMBER, _MOMENT),
    "last_updated_timestamp": Attribute(logged_models.c.updated, NUMBER, _MOMENT),
}
_ALIASES: Final = {
    "creation_time": "creation_timestamp",
    "creation_timestamp_ms": "creation_timestamp",
    "last_updated_timestamp_ms": "last_updated_timestamp",
}
_METRIC: Final = frozenset({"metric", "metrics"})
_PARAM: Final = frozenset({"param", "params"})


class MetricDataset(NamedTuple):
    """A dataset on which metrics were measured; an empty digest: whichever."""

    name: str
    digest: str


class ModelOrder(NamedTuple):
    """What results are ordered by: an attribute, or ``metrics.<key>``, on a dataset where one is named."""

    field: str
    descending: bool
    dataset: MetricDataset = MetricDataset("", "")


def models_query(
    experiment_ids: Sequence[str], text: str, order_by: Sequence[ModelOrder], datasets: Sequence[MetricDataset]
) -> Select[Any]:
    """The rows of ``logged_models`` that match a filter.

    Args:
        datasets: the only ones whose metrics are looked at; none: all.

    Raises:
        RejectError: filter or order mean nothing.
    """
    numbers = [limits.experiment_number(each) for each in experiment_ids]
    wanted = [logged_models.c.experiment.in_(numbers), logged_models.c.lifecycle == "active"]
    wanted += [_condition(condition, datasets) for condition in filters.parse(text)]
    if datasets:
        measured = select(logged_model_metrics.c.model).where(_measured_on(datasets))
        wanted.append(logged_models.c.id.in_(measured))
    return _ordered(select(logged_models).where(*wanted), order_by)


def _condition(condition: Condition, datasets: Sequence[MetricDataset]) -> ColumnElement[bool]:
    key, comparator, value = condition
    if key.entity in ATTRIBUTES:
        name = _ALIASES.get(key.name, key.name)
        if name == "status" and isinstance(value, str):
            value = value if value.startswith("LOGGED_MODEL_") else f"LOGGED_MODEL_{value}"
        return searching.attribute(Condition(Key("", name), comparator, value), _ATTRIBUTES)
    if key.entity in _METRIC:
        searching.require(f"metric {key.name}", comparator, NUMBER)
        columns = logged_model_metrics.c
        compared = searching.compared(columns.value, comparator, searching.number(key, value))
        on = [_measured_on(datasets)] if datasets else []
        return logged_models.c.id.in_(select(columns.model).where(columns.key == key.name, compared, *on))
    if key.entity in _PARAM or key.entity in TAGS:
        table = logged_model_params if key.entity in _PARAM else logged_model_tags
        searching.require(f"{key.entity} {key.name}", comparator, TEXT)
        compared = searching.compared(table.c.value, comparator, searching.text(key, value))
        return logged_models.c.id.in_(select(table.c.model).where(table.c.key == key.name, compared))
    raise invalid(f"Invalid entity type '{key.entity}'. Valid values are ('attribute', 'metric', 'parameter', 'tag')")


def _measured_on(datasets: Sequence[MetricDataset]) -> ColumnElement[bool]:
    columns = logged_model_metrics.c
    return or_(
        *(
            and_(columns.dataset_name == each.name, *([columns.dataset_digest == each.digest] if each.digest else []))
            for each in datasets
        )
    )


def _ordered(query: Select[Any], order_by: Sequence[ModelOrder]) -> Select[Any]:
    filters.check_order([each.field for each in order_by])
    clauses: list[Any] = []
    named = set()
    for each in order_by:
        key, _ = filters.parse_order(each.field)
        if key.entity in _METRIC:
            value: Any = _metric_value(key.name, each)
            clauses.append(case((value.is_(None), 1), else_=0))
        else:
            name = _ALIASES.get(key.name, key.name)
            if key.entity not in ATTRIBUTES or name not in _ATTRIBUTES:
                raise invalid(f"Invalid order by field name: {key.name}. Valid ones are {sorted(_ATTRIBUTES)}")
            value = _ATTRIBUTES[name].column
            named.add(name)
        clauses.append(value.desc() if each.descending else value.asc())
    if "creation_timestamp" not in named:
        clauses.append(logged_models.c.created.desc())
    return query.order_by(*clauses, logged_models.c.model_id)


def _metric_value(key: str, order: ModelOrder) -> Any:
    columns = logged_model_metrics.c
    on = [_measured_on([order.dataset])] if order.dataset.name else []
    best = func.max(columns.value) if order.descending else func.min(columns.value)
    return select(best).where(columns.model == logged_models.c.id, columns.key == key, *on).scalar_subquery()
