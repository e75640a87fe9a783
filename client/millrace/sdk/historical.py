"""Training sets: the entity frame with one column per feature, each as it was known at the row's own time."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from millrace.sdk import datasets, time_arguments
from millrace.sdk.datasets import Dataset, Origin
from millrace.sdk.registry import Registry
from millrace.sdk.tabular import Tabular
from millrace.sdk.time_arguments import TimeArgument
from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.program import Computed
from millrace_core.features.history import all_entities
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.history.history import HistorySource, TimeRange
from millrace_core.features.offline import point_in_time
from millrace_core.features.online.plan import ReadPlan, ViewRead
from millrace_core.features.types import times
from millrace_core.features.types.conform import microseconds
from millrace_data.materialization.resources import EngineSettings

if TYPE_CHECKING:
    from millrace_data.materialization.job import Progress

logger = logging.getLogger(__name__)

OpenSource = Callable[[Definition], HistorySource]
Watermark = Callable[[Definition], int | None]


@dataclass(frozen=True)
class TrainingSet(Tabular):
    """A training set: exactly the entity frame's rows, in its order, and the features beside them.

    Attributes:
        table: the rows.
        origin: the query, and the definitions that it was made with.
        registry: where saved datasets are recorded.
        expression_errors: for how many rows the expression of a feature failed, which are null for that, by reference
            (``view:feature``); empty where none did.
    """

    table: pa.Table
    origin: Origin
    registry: Registry | None = None
    expression_errors: Mapping[str, int] = field(default_factory=dict)

    def save(self, uri: str | os.PathLike[str]) -> Dataset:
        """Saves it as an immutable dataset: a folder below ``uri``, named by its content.

        Args:
            uri: a folder: a path, ``file:///path`` or ``s3://bucket/path``.

        Returns:
            The dataset, whose ``uri`` is what ``Dataset.load`` takes.

        Raises:
            RejectError: it cannot be written there. RetryError: the storage does not answer.
        """
        return datasets.save(self.table, self.origin, uri, self.registry)


@dataclass(frozen=True)
class HistoricalRequest:
    """What a training set is made of, beside its features.

    Attributes:
        entities: the entity frame, or the period whose entities are wanted.
        timestamp_column: its column of times.
        created_cutoff: whether only rows that were written by then are seen.
        full_feature_names: whether columns are called ``view__feature``.
        features: the references.
    """

    entities: pa.Table | Period
    timestamp_column: str
    created_cutoff: bool
    full_feature_names: bool
    features: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """As a manifest has it."""
        query = {
            "features": list(self.features),
            "timestampColumn": self.timestamp_column,
            "createdCutoff": self.created_cutoff,
            "fullFeatureNames": self.full_feature_names,
        }
        return {**query, "entities": "all", **self.entities.as_dict()} if isinstance(self.entities, Period) else query


@dataclass(frozen=True)
class Period:
    """In place of an entity frame: every entity, from ``start`` (None: each once) to ``end``, in microseconds."""

    start: int | None
    end: int

    def as_dict(self) -> dict[str, str | None]:
        """As a manifest has it."""
        return {"start": None if self.start is None else times.render(self.start), "end": times.render(self.end)}


def period(entities: str | None, entity_df: Any, start: TimeArgument | None, end: TimeArgument | None) -> Period:
    """The period that these arguments name in place of an entity frame.

    Raises:
        RejectError: they contradict each other; names the argument.
    """
    if entities != "all":
        raise RejectError(
            f'entities={entities!r} came, "all" is expected',
            hint='Pass entity_df without start and end, or entities="all"',
            field="entities",
        )
    if entity_df is not None:
        raise RejectError('an entity frame and entities="all" came; one of them is expected', field="entities")
    since = None if start is None else time_arguments.microseconds(start, "start")
    upto = time_arguments.now() if end is None else time_arguments.microseconds(end, "end")
    if since is not None and since > upto:
        raise RejectError(f"start {start} is after end {end or 'now'}", field="start")
    return Period(since, upto)


def join(
    plan: ReadPlan,
    request: HistoricalRequest,
    open_source: OpenSource,
    watermark: Watermark,
    registry: Registry | None,
    progress: Progress | None = None,
) -> TrainingSet:
    """Joins the plan's features to the entity frame, view by view. Each view's source is opened once.

    Args:
        progress: is called, from several threads, with the rows read of all sources so far, and with the share of the
            work that is done. Each view is read twice, and each time counts the same.

    Raises:
        RejectError: a column is missing, has the wrong type, or a name is taken; names it.
        Other errors as ``millrace_core.features.offline.point_in_time.join``.
    """
    opened: dict[str, HistorySource] = {}
    entities, timestamp_column = request.entities, request.timestamp_column
    if isinstance(entities, Period):  # the frame is of the very sources that the features are of
        opened = {view.definition.view: open_source(view.definition) for view in plan.reads}
        views = [(view.definition, opened[view.definition.view]) for view in plan.reads]
        entities = all_entities.entity_frame(views, timestamp_column, entities.start, entities.end)
    _check_names(plan, entities)
    as_of = microseconds(
        _column(entities, timestamp_column), column=timestamp_column, field=f"entity_df.{timestamp_column}"
    )
    frame = EntityFrame(
        {key: _column(entities, key) for key in plan.join_keys},
        as_of,
        request.created_cutoff,
        {name: _column(entities, name) for name in plan.request_fields if name in entities.column_names},
    )
    watch = _Watch(len(plan.reads), progress)

    def source_of(view: Definition) -> HistorySource:
        known = opened.pop(view.view, None)
        return watch.over(open_source(view) if known is None else known)

    columns, errors = _features(plan, source_of, frame, watch)
    table = entities
    for position, name in enumerate(plan.names):
        table = table.append_column(name, columns[position])
    origin = Origin(request.as_dict(), [described(view, watermark) for view in plan.reads], entities.column_names)
    for name, count in errors.items():
        logger.warning("%s: its expression fails for %d of %d rows, which are null", name, count, table.num_rows)
    return TrainingSet(table, origin, registry, errors)


def described(view: ViewRead, watermark: Watermark) -> dict[str, Any]:
    """What a manifest says of one view."""
    definition = view.definition
    known = watermark(definition)
    source = definition.source.model_dump(by_alias=True, exclude_none=True)
    source.pop("credentialsSecretRef", None)
    return {
        "project": definition.project,
        "name": definition.view,
        "schemaHash": definition.schema_hash,
        "features": list(view.features),
        "source": source,
        "watermark": None if known is None else times.render(known),
    }


class _Watch:
    """Tells a caller how far a join is."""

    def __init__(self, views: int, progress: Progress | None) -> None:
        self._steps = 2 * views
        self._progress = progress
        self._rows = self._done = 0
        self._lock = threading.Lock()

    def over(self, source: HistorySource) -> HistorySource:
        """The source, whose rows are counted from now on."""
        return source if self._progress is None else _Watched(source, self)

    def count(self, rows: int = 0, steps: int = 0) -> None:
        """So many rows more were read, and so many steps more are done."""
        if self._progress is None:
            return
        with self._lock:
            self._rows += rows
            self._done += steps
            self._progress(self._rows, self._done / self._steps)


class _Watched:
    """A source whose rows are counted."""

    def __init__(self, source: HistorySource, watch: _Watch) -> None:
        self._source = source
        self._watch = watch

    def scan(self, columns: Sequence[str], time_range: TimeRange) -> Iterator[pa.RecordBatch]:
        for batch in self._source.scan(columns, time_range):
            self._watch.count(batch.num_rows)
            yield batch


def _features(
    plan: ReadPlan, open_source: OpenSource, frame: EntityFrame, watch: _Watch
) -> tuple[dict[int, pa.Array], dict[str, int]]:
    """The features by position, and for how many rows expressions failed.

    While the features of one view are fetched, the rows of the next are searched.
    """
    columns: dict[int, pa.Array] = {}
    errors: dict[str, int] = {}
    with ThreadPoolExecutor(1) as fetching:
        fetched: deque[tuple[ViewRead, Future[Computed]]] = deque()

        def take() -> None:
            view, features = fetched.popleft()
            computed = features.result()
            columns.update(zip(view.positions, computed.values, strict=True))
            errors.update({f"{view.definition.view}:{name}": count for name, count in computed.errors.items()})
            watch.count(steps=1)

        for view in plan.reads:
            definition = view.definition
            wanted = [definition.feature[name] for name in view.features]
            source = open_source(definition)
            with EngineSettings.load(os.environ).engine(definition.view) as engine:
                fetch = point_in_time.search(definition, wanted, source, frame, engine)
            watch.count(steps=1)
            if fetched:
                take()
            fetched.append((view, fetching.submit(fetch)))
        if fetched:
            take()
    return columns, errors


def _check_names(plan: ReadPlan, entities: pa.Table) -> None:
    taken: Sequence[str] = [name for name in plan.names if name in entities.column_names]
    if taken:
        raise RejectError(
            f"the frame has a column {taken[0]!r} already, and a feature is called so",
            hint="Rename the column, or pass full_feature_names=True",
            field="features",
        )


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    # A column of nothing has the type of nothing: pandas has float64 for it, or object.
    return column if column.null_count < len(column) else pa.nulls(len(column))
