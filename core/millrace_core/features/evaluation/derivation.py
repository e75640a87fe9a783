"""The features that are wanted of a view, with its expressions computed from the features that are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition, Feature
from millrace_core.features.evaluation.program import Computed, Program, ProgramInput
from millrace_core.features.evaluation.time_limit import BATCH_SECONDS
from millrace_core.features.types.conform import conform


class Derivation:
    """Makes the wanted features of a view from its features that are no expressions.

    Args:
        definition: of the view.
        wanted: the features, in order.
        seconds: how long a batch may take.

    Attributes:
        reads: the features to read; none of them is an expression.
    """

    def __init__(self, definition: Definition, wanted: Sequence[Feature], seconds: float = BATCH_SECONDS) -> None:
        self._wanted = tuple(wanted)
        self._view = definition.view
        names = [feature.name for feature in wanted if feature.expression is not None]
        self._program = Program(definition, names, (), seconds=seconds) if names else None
        read = {feature.name: feature for feature in wanted if feature.expression is None}
        for each in self._program.inputs if self._program else ():
            if len(each.name) == 1:
                read[each.name[0]] = definition.feature[each.name[0]]
        self.reads = tuple(read.values())

    def columns(
        self,
        found: Sequence[pa.Array],
        visible: pa.Array,
        request: Mapping[str, pa.Array] | None = None,
        entity: pa.Array | None = None,
    ) -> Computed:
        """The wanted features, and for how many rows expressions failed.

        Args:
            found: values of ``reads``, one Arrow array each.
            visible: per row whether a row of the source is visible.
            request: request fields that on-demand expressions read, by name.
            entity: per row whether it is of an entity; by default all are.

        Raises:
            RejectError: a request field is missing, or its values are of another type; names it.
        """
        errors: dict[str, int] = {}
        have = {feature.name: column for feature, column in zip(self.reads, found, strict=True)}
        if self._program is not None:
            given = [
                have[each.name[0]] if len(each.name) == 1 else self._requested(each, request or {})
                for each in self._program.inputs
            ]
            entities = pa.repeat(pa.scalar(True), len(visible)) if entity is None else entity
            values, errors = self._program.arrays(given, visible, entities)
            have |= zip(self._program.wanted, values, strict=True)
        return Computed([have[feature.name] for feature in self._wanted], errors)

    def _requested(self, each: ProgramInput, request: Mapping[str, pa.Array]) -> pa.Array:
        name = each.name[1]
        if name not in request:
            raise RejectError(
                f"there is no column {name!r}, which the expressions of feature view {self._view!r} read as "
                f"request.{name}",
                hint=f"Add a column of {each.type} with what requests would bring",
                field=f"entity_df.{name}",
            )
        return conform(request[name], each.type, column=name, field=f"entity_df.{name}")
