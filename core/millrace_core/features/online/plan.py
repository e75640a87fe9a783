"""Read plans: which rows and which of their features answer a list of references. Compiled once per snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import orjson

from millrace_core.api import feature_reference
from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.definition.definition import Definition
from millrace_core.features.online import keys
from millrace_core.features.online.feature_columns import FeatureColumns
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.published import Snapshot
from millrace_core.features.online.row import NUMBERS

if TYPE_CHECKING:
    from millrace_core.features.online import plain as plain_rows
else:
    # It brings numpy, which takes time that commands without online reads need not pay.
    plain_rows = lazy_import("millrace_core.features.online.plain")


@dataclass(frozen=True)
class ViewRead:
    """The part of a plan that reads one view: these features, at these positions among the answer's columns."""

    definition: Definition
    features: tuple[str, ...]
    positions: tuple[int, ...]

    @cached_property
    def reader(self) -> FeatureReader:
        """Reads these features of packed rows; made once, because making it compiles layout and expressions."""
        return FeatureReader(self.definition, self.features)

    @cached_property
    def name(self) -> tuple[str, str]:
        """Project and view."""
        return self.definition.project, self.definition.view

    @cached_property
    def first(self) -> int | None:
        """The position of the first feature where the others follow it; None where they are scattered."""
        first = self.positions[0]
        return first if self.positions == tuple(range(first, first + len(self.positions))) else None

    @cached_property
    def types(self) -> tuple[FeatureType, ...]:
        """The features' types."""
        return tuple(self.definition.feature[name].type for name in self.features)

    def errors(self, plan: ReadPlan, columns: FeatureColumns) -> dict[str, int]:
        """For how many rows the expression of a feature failed, by the answer's names."""
        named = dict(zip(self.features, self.positions, strict=True))
        return {plan.names[named[feature]]: count for feature, count in columns.errors.items()}

    @cached_property
    def simple(self) -> bool:
        """Whether all features are numbers."""
        return NUMBERS.issuperset(self.types)


@dataclass(frozen=True)
class ReadPlan:
    """How one list of references is read; ``names`` are the answer's feature columns, in their order."""

    names: tuple[str, ...]
    join_keys: tuple[str, ...]
    reads: tuple[ViewRead, ...]
    refs: tuple[str, ...] = ()

    @property
    def computes(self) -> bool:
        """Whether a view that is read has expressions, which making its reader evaluates."""
        return any(feature.expression for read in self.reads for feature in read.definition.features)

    @property
    def prepared(self) -> bool:
        """Whether the readers are made."""
        return "request_fields" in self.__dict__

    def prepare(self) -> None:
        """Makes the readers, which may take long where they have expressions."""
        _ = self.request_fields

    @cached_property
    def names_text(self) -> bytes:
        """The names as JSON, without the brackets around them."""
        return orjson.dumps(self.names)[1:-1]

    @cached_property
    def alike(self) -> tuple[int, ...]:
        """For each read the first one with the same join keys (its index): their store keys differ in the prefix."""
        join_keys = [read.definition.join_keys for read in self.reads]
        return tuple(join_keys.index(own) for own in join_keys)

    @cached_property
    def prefixes(self) -> tuple[bytes, ...]:
        """The prefix of each read's store keys."""
        return tuple(keys.prefix(*read.name) for read in self.reads)

    @cached_property
    def plain(self) -> plain_rows.PlainReader | None:
        """Reads the rows of all views at once where they are plain; None where they never are."""
        wanted = [plain_rows.ViewFeatures(read.definition, read.features, read.positions) for read in self.reads]
        return plain_rows.PlainReader.of(wanted)

    @cached_property
    def runs(self) -> tuple[tuple[int, slice], ...]:
        """The answer's columns as runs of one read each: the index of the read, and the columns."""
        read_at = {position: index for index, read in enumerate(self.reads) for position in read.positions}
        runs = []
        start = 0
        for index, run in groupby(read_at[position] for position in range(len(self.names))):
            end = start + len(list(run))
            runs.append((index, slice(start, end)))
            start = end
        return tuple(runs)

    @cached_property
    def binary_keys(self) -> frozenset[str]:
        """Join keys of bytes, which JSON has in base64."""
        found = (key for read in self.reads for key in read.definition.entities)
        return frozenset(key.request_column for key in found if key.type == "bytes")

    @cached_property
    def types(self) -> tuple[tuple[str, FeatureType], ...]:
        """Names and types of the join keys and of the request fields."""
        found: dict[str, FeatureType] = {}
        for read in self.reads:
            found |= {key.request_column: key.type for key in read.definition.entities}
            found |= read.reader.request_fields
        return tuple(found.items())

    def errors(self, read: Sequence[FeatureColumns]) -> dict[str, int]:
        """For how many rows expressions failed, by the answer's names; ``read`` has the columns of each view."""
        found: dict[str, int] = {}
        for view, columns in zip(self.reads, read, strict=True):
            if columns.errors:
                found |= view.errors(self, columns)
        return found

    @cached_property
    def has_global(self) -> bool:
        """Whether some view has no entities."""
        return any(not read.definition.entities for read in self.reads)

    @cached_property
    def request_fields(self) -> frozenset[str]:
        """Names of the fields that on-demand features read from the request."""
        return frozenset(name for read in self.reads for name, _ in read.reader.request_fields)


def compile_plan(snapshot: Snapshot, project: str, refs: tuple[str, ...], *, full_names: bool) -> ReadPlan:
    """Resolves references against a snapshot.

    Raises:
        RejectError: a reference has not the form view:feature, or two features or views would share one name.
        NotFoundError: no such view or feature; names those that exist.
    """
    # A view is read once for each set of columns that its keys come from.
    wanted: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[str, int]]] = {}
    names = []
    references = [feature_reference.parse(ref) for ref in refs]
    feature_reference.refuse_shared_labels(references)
    for position, meant in enumerate(references):
        known = snapshot.view(project, meant.view).feature
        if meant.feature not in known:
            raise NotFoundError(
                f"feature view {meant.view!r} has no feature {meant.feature!r}",
                hint=f"It has: {', '.join(list(known)[:20])}",
                field="features",
            )
        wanted.setdefault((meant.view, meant.keys), []).append((meant.feature, position))
        names.append(meant.full_name if full_names else meant.feature)
    _refuse_shared_names(refs, names)
    reads = tuple(
        ViewRead(
            snapshot.view(project, view).under(dict(keys)), tuple(f for f, _ in features), tuple(p for _, p in features)
        )
        for (view, keys), features in wanted.items()
    )
    join_keys = dict.fromkeys(key.request_column for read in reads for key in read.definition.entities)
    return ReadPlan(tuple(names), tuple(join_keys), reads, refs)


def _refuse_shared_names(refs: tuple[str, ...], names: list[str]) -> None:
    first: dict[str, str] = {}
    for ref, name in zip(refs, names, strict=True):
        if name in first:
            twice = first[name] == ref
            raise RejectError(
                f"{ref} is requested twice" if twice else f"{first[name]} and {ref} would both be called {name!r}",
                hint="Request it once" if twice else "Set full_feature_names to true",
                field="features",
            )
        first[name] = ref


class ReadPlans:
    """Compiled plans of the present snapshot; a new snapshot forgets them all."""

    # Bounds memory against clients that never send the same references twice.
    MOST = 1000

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._plans: dict[tuple[str, tuple[str, ...], bool], ReadPlan] = {}

    def get(self, snapshot: Snapshot, project: str, refs: tuple[str, ...], *, full_names: bool) -> ReadPlan:
        """The plan for these references; compiled on first use. Raises as ``compile_plan``."""
        if snapshot is not self._snapshot:
            self._snapshot, self._plans = snapshot, {}
        key = (project, refs, full_names)
        plan = self._plans.get(key)
        if plan is None:
            plan = compile_plan(snapshot, project, refs, full_names=full_names)
            if len(self._plans) >= self.MOST:
                self._plans.clear()
            self._plans[key] = plan
        return plan
