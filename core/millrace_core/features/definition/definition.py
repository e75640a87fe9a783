"""A feature view, compiled: the one definition that training, materialization, the gateway and inference share.

``schema_hash`` is the view's definition (``millrace_core.identity.view_definition``, which says what changes it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

from millrace_core.api.feature import EntityType, FeatureType
from millrace_core.api.featureview import MAX_NAME, FeatureViewSpec
from millrace_core.api.names import LABEL
from millrace_core.api.source import SourceSpec
from millrace_core.base import duration
from millrace_core.base.errors import RejectError
from millrace_core.features.definition import quality, source_columns
from millrace_core.features.definition.aggregate import Aggregate, compile_aggregates
from millrace_core.features.definition.quality import Check
from millrace_core.features.definition.source_columns import ComputedColumn
from millrace_core.features.expressions.compiled import CompiledExpression, InputFeature, compile_expressions
from millrace_core.features.types import times
from millrace_core.identity.view_definition import view_definition

# Microseconds; about 36,000 years, so that the sum of a time and a ttl fits into 64 bits.
MAX_TTL: Final = 2**60


@dataclass(frozen=True)
class JoinKey:
    """One join key; ``name`` is also its column in the source.

    ``alias`` is another column than ``name`` that has its values in requests and entity frames, for views that are read
    twice under two keys; empty where it is none.
    """

    name: str
    type: EntityType
    alias: str = ""

    @property
    def request_column(self) -> str:
        """Its column in requests and entity frames."""
        return self.alias or self.name


# The key of a view without entities, whose one row is of everything: its one value is always there, as a constant
# beside the rows of sources, frames, pushes and requests, which have no column for it. No entity can have this name.
GLOBAL: Final = JoinKey("$global", "int64")
GLOBAL_VALUE: Final = 0


class StoredFeature(NamedTuple):
    """One feature as stored rows have it. Two with equal fields have equal values."""

    name: str
    type: FeatureType
    meaning: str


# In snapshots: the event time of the source's latest row, visible or not. No feature can have this name.
ROW_TIME: Final = StoredFeature("$event", "timestamp", "$event")


class SourceColumn(NamedTuple):
    """A source column that a feature is made from, read as ``type``; None is the type that it has."""

    column: str
    type: FeatureType | None


class RequestField(NamedTuple):
    """A value that comes with each request."""

    name: str
    type: FeatureType


@dataclass(frozen=True)
class Feature:
    """One feature under ``name``, as ``type``: a source ``column``, an ``aggregate`` or an ``expression``.

    ``computed`` is what the definition computes its source column from; empty where the source has it.
    """

    name: str
    type: FeatureType
    column: str | None = None
    aggregate: Aggregate | None = None
    expression: CompiledExpression | None = None
    computed: str = ""

    @property
    def meaning(self) -> str:
        """A text that changes whenever the feature's values could, its type aside."""
        if self.expression is not None:
            return self.expression.meaning
        made = self.aggregate.meaning if self.aggregate else str(self.column)
        return f"{made} of {self.computed}" if self.computed else made

    @property
    def source_column(self) -> SourceColumn | None:
        """The source column that it is made from; None where it is made from rows alone or from other features."""
        if self.aggregate is None:
            return SourceColumn(self.column, self.type) if self.column else None
        column = self.aggregate.column
        return SourceColumn(column, self.aggregate.read_as(self.type)) if column else None

    @property
    def row_bound(self) -> bool:
        """Whether its value belongs to one row, and is visible as long as that row is. Aggregates always have one."""
        return self.aggregate is None if self.expression is None else self.expression.row_bound

    @property
    def on_demand(self) -> bool:
        """Whether it is computed at every read, and so not stored."""
        return self.expression is not None and self.expression.on_demand

    @property
    def empty(self) -> int | float | None:
        """Its value for an entity without events."""
        if self.aggregate is None or self.aggregate.function not in ("count", "count_distinct", "sum"):
            return None
        return 0 if self.type == "int64" else 0.0

    @property
    def stored(self) -> StoredFeature:
        """The feature as stored rows have it."""
        return StoredFeature(self.name, self.type, self.meaning)


@dataclass(frozen=True)
class Definition:
    """A compiled feature view. Times and durations are integers of microseconds (UTC).

    Attributes:
        project: the namespace.
        view: name of the view.
        join_keys: what tells its rows apart: the entities, or ``GLOBAL`` alone where there are none.
        ttl: how old a row may be, inclusive; None is no limit.
        lag: how long a run waits for late rows.
        parallelism: how many processes share a run.
        lateness: how far before the last run's end the next one reads again.
        start_from: the event time from which on rows are backfilled; None: all rows.
        source: the spec's.
        quality: the checks of a run's rows before any of them is written.
        online: whether rows go to the online store.
        schema_hash: ``sha256:`` and 64 hex digits.
        request_fields: values that come with each request, for expressions.
        partials: folder of cell logs (``cells``); None where none is kept.
        error_checks: how many rows of a run the expression of a stored feature may fail for.
    """

    project: str
    view: str
    join_keys: tuple[JoinKey, ...]
    features: tuple[Feature, ...]
    timestamp_field: str
    created_field: str | None
    ttl: int | None
    lag: int
    lateness: int
    parallelism: int
    start_from: int | None
    source: SourceSpec
    quality: tuple[Check, ...]
    online: bool
    schema_hash: str
    request_fields: tuple[RequestField, ...] = ()
    partials: str | None = None
    error_checks: tuple[Check, ...] = ()

    @cached_property
    def entities(self) -> tuple[JoinKey, ...]:
        """The join keys that sources, frames and requests have columns for; none in a view of one global row."""
        return () if self.join_keys == (GLOBAL,) else self.join_keys

    @cached_property
    def source_kind(self) -> str:
        """Which kind of source the view has: one of ``SOURCE_KINDS``."""
        return self.source.kinds[0]

    @cached_property
    def computed(self) -> Mapping[str, ComputedColumn]:
        """The columns that are computed from the source's own, by name."""
        found = source_columns.computed(self.source)
        return found if self.entities else {**found, GLOBAL.name: source_columns.constant(GLOBAL_VALUE)}

    @cached_property
    def feature(self) -> dict[str, Feature]:
        """Features by name."""
        return {feature.name: feature for feature in self.features}

    @cached_property
    def stored(self) -> tuple[StoredFeature, ...]:
        """The values of a stored row, in order. The last value of a snapshot is the time of its row (``ROW_TIME``)."""
        stored = tuple(feature.stored for feature in self.features if not feature.on_demand)
        return (*stored, ROW_TIME) if self.windowed else stored

    @cached_property
    def request(self) -> dict[str, FeatureType]:
        """Types of the request fields by name."""
        return dict(self.request_fields)

    @cached_property
    def windowed(self) -> bool:
        """Whether the view has aggregates, so that its stored rows are snapshots as of the end of a run."""
        return any(feature.aggregate for feature in self.features)

    @cached_property
    def windows(self) -> tuple[int, int]:
        """The grid of the view's aggregates and their longest window; 1 and 0 where there are none."""
        found = [feature.aggregate for feature in self.features if feature.aggregate]
        return (found[0].every, max(each.window for each in found)) if found else (1, 0)

    def under(self, keys: Mapping[str, str]) -> Definition:
        """The view as it is read under other columns.

        Args:
            keys: columns of requests and entity frames by join key; others keep their names.

        Raises:
            RejectError: the view has no such join key.
        """
        own = [key.name for key in self.entities]
        for name in keys:
            if name not in own:
                raise RejectError(
                    f"feature view {self.view!r} has no join key {name!r}",
                    hint=f"It has: {', '.join(own) or 'none'}",
                    field="features",
                )
        if not keys:
            return self
        return replace(self, join_keys=tuple(replace(key, alias=keys.get(key.name, "")) for key in self.join_keys))

    @cached_property
    def schema_id(self) -> bytes:
        """The 8 bytes of ``schema_hash`` that stored rows carry."""
        return bytes.fromhex(self.schema_hash.removeprefix("sha256:")[:16])


def compile(name: str, namespace: str, spec: FeatureViewSpec) -> Definition:  # noqa: A001 the term of the field
    """Compiles a feature view.

    Raises:
        RejectError: the definition has no meaning; names the field and the token at fault.
    """
    _check_names(name, namespace)
    _refuse_repeated("spec.entities", [entity.name for entity in spec.entities])
    _refuse_repeated("spec.features", [feature.name for feature in spec.features])
    _refuse_repeated("spec.requestFields", [field.name for field in spec.request_fields or ()])
    _refuse_named_as_keys("spec.features", [feature.name for feature in spec.features], spec)
    _refuse_named_as_keys("spec.requestFields", [field.name for field in spec.request_fields or ()], spec)
    source_columns.check(spec.source)
    materialization = spec.materialization
    features = _features(spec)
    evaluated = [each.name for each in features if each.expression is not None and not each.on_demand]
    start_from = materialization and materialization.start_from
    return Definition(
        project=namespace,
        view=name,
        join_keys=tuple(JoinKey(entity.name, entity.type) for entity in spec.entities) or (GLOBAL,),
        features=features,
        timestamp_field=spec.source.timestamp_field,
        created_field=spec.source.created_timestamp_field,
        ttl=_ttl(spec),
        lag=duration.microseconds(materialization.lag, field="spec.materialization.lag") if materialization else 0,
        lateness=duration.microseconds(materialization.lateness, field="spec.materialization.lateness")
        if materialization
        else 0,
        parallelism=materialization.parallelism if materialization else 1,
        start_from=times.parse(start_from, field="spec.materialization.startFrom") if start_from else None,
        source=spec.source,
        quality=quality.compile(spec.quality or ()),
        online=spec.online.enabled,
        schema_hash=schema_hash(spec),
        request_fields=tuple(RequestField(field.name, field.type) for field in spec.request_fields or ()),
        partials=spec.aggregation.partials.uri if spec.aggregation and spec.aggregation.partials else None,
        error_checks=quality.compile_error_checks(spec.quality or (), evaluated),
    )


def schema_hash(spec: FeatureViewSpec) -> str:
    """The view's definition: ``sha256:<hex>`` over what decides a stored row."""
    return view_definition(
        ((entity.name, entity.type) for entity in spec.entities),
        (feature.stored for feature in _features(spec) if not feature.on_demand),
        timestamp_field=spec.source.timestamp_field,
        created_field=spec.source.created_timestamp_field,
        where=source_columns.condition(spec.source),
        columns=source_columns.decisive(spec.source, [entity.name for entity in spec.entities]).items(),
        units=(spec.source.timestamp_unit, spec.source.created_timestamp_unit),
    )


def _check_names(name: str, namespace: str) -> None:
    for field, label in (("metadata.name", name), ("metadata.namespace", namespace)):
        if not LABEL.fullmatch(label):
            raise RejectError(
                f"{label!r} cannot be part of a store key",
                hint="Use lower case letters, digits and -, 63 at most",
                field=field,
            )
    if len(name) > MAX_NAME:
        raise RejectError(
            f"{name!r} has {len(name)} characters",
            hint=f"Choose a name of at most {MAX_NAME}; the names of CronJobs and Jobs are made from it",
            field="metadata.name",
        )


def _features(spec: FeatureViewSpec) -> tuple[Feature, ...]:
    aggregates = compile_aggregates(spec)
    plain = {
        feature.name: Feature(feature.name, feature.type, aggregate=aggregates[feature.name])
        if feature.name in aggregates
        else Feature(feature.name, feature.type, feature.column or feature.name)
        for feature in spec.features
        if feature.expression is None
    }
    made = source_columns.computed(spec.source)
    for name, feature in plain.items():
        column = feature.column or (feature.aggregate and feature.aggregate.column)
        if column in made:
            plain[name] = replace(feature, computed=made[column].expression.text)
    given = {name: InputFeature(feature.type, feature.meaning, feature.row_bound) for name, feature in plain.items()}
    computed = compile_expressions(spec, given)
    return tuple(
        plain.get(feature.name) or Feature(feature.name, feature.type, expression=computed[feature.name])
        for feature in spec.features
    )


def _ttl(spec: FeatureViewSpec) -> int | None:
    if spec.ttl is None:
        return None
    ttl = duration.microseconds(spec.ttl, field="spec.ttl")
    if ttl > MAX_TTL:
        raise RejectError(
            f"{spec.ttl!r} is longer than 36,000 years", hint="Leave ttl out for no limit", field="spec.ttl"
        )
    return ttl or None


def _refuse_repeated(field: str, names: Iterable[str]) -> None:
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if name in seen:
            raise RejectError(
                f"{name!r} is there twice, also at {field}[{seen[name]}]",
                hint="Rename one; `column` says which source column a feature reads",
                field=f"{field}[{index}].name",
            )
        seen[name] = index


def _refuse_named_as_keys(field: str, names: Iterable[str], spec: FeatureViewSpec) -> None:
    keys = {entity.name for entity in spec.entities}
    for index, name in enumerate(names):
        if name in keys:
            raise RejectError(
                f"{name!r} is the name of an entity",
                hint="Rename it; a feature says its source column in `column`",
                field=f"{field}[{index}].name",
            )
