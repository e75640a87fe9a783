"""The one type of a column that has several in different places, and of which nothing is declared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from millrace_core.api.feature import FeatureType
from millrace_core.base.errors import RejectError
from millrace_core.features.types.conform import ARROW, MisfitError, conform, fits
from millrace_core.features.types.kinds import is_moment, plain_type

_DECLARED: Final[Mapping[pa.DataType, FeatureType]] = {arrow: declared for declared, arrow in ARROW.items()}


def common_type(kinds: Sequence[pa.DataType], *, column: str, field: str, text: bool = False) -> pa.DataType:
    """The type in which the values of all kinds can be had; ``null`` of none.

    With ``text`` that is their text where there is no other, as expressions can make anything of it.

    Raises:
        RejectError: there is none; names the column and the types.
    """
    if len(set(kinds)) <= 1:
        return kinds[0] if kinds else pa.null()
    plain = [plain_type(kind) for kind in kinds]
    plain = [ARROW["timestamp"] if is_moment(kind) else kind for kind in plain]
    try:
        schemas = [pa.schema([pa.field(column, kind)]) for kind in plain]
        return pa.unify_schemas(schemas, promote_options="permissive").field(0).type
    except pa.ArrowException as error:
        if text and not any(pa.types.is_nested(kind) for kind in plain):
            return pa.string()
        names = ", ".join(sorted({str(kind) for kind in kinds}))
        raise RejectError(
            f"column {column!r} has types that do not go together in different files: {names}",
            hint="Write the files with one type",
            field=field,
            reason="WrongColumnType",
        ) from error


def conform_common(values: pa.Array, target: pa.DataType, *, column: str) -> pa.Array:
    """The values as the type that ``common_type`` found.

    Raises:
        MisfitError: a value cannot be had so.
    """
    if values.type == target:
        return values
    declared = _DECLARED.get(target)
    if declared is not None and fits(values.type, declared):
        return conform(values, declared, column=column)
    try:
        return pc.cast(values, target)
    except pa.ArrowInvalid as error:
        raise MisfitError(str(error), 0, column=column, came=str(values.type), declared=str(target)) from error
