"""A model's outputs over the holdout."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from millrace_core.api.gates import Holdout
from millrace_core.base.errors import RejectError
from millrace_core.gates.predictions import Predictions
from millrace_services.gate.feeds import Feeds, Layout, columns_of, feeds, rows_at_once
from millrace_services.gate.holdout import FIELD, HoldoutFile
from millrace_services.inference.session import ModelSession
from millrace_services.inference.tensors import Array, OutputTensor

_RUN_ROWS: Final = 256
_MATRIX: Final = 2


@dataclass(frozen=True)
class Predicted:
    """What came of all rows.

    Attributes:
        predictions: for metrics.
        outputs: [n] of each output that a rule names.
        first: inputs of the first rows, to measure latency with.
    """

    predictions: Predictions
    outputs: Mapping[str, Array]
    first: Feeds


def predict(
    session: ModelSession, file: HoldoutFile, holdout: Holdout, laid_out: Layout, named: Collection[str], *, nulls: bool
) -> Predicted:
    """Runs the model over the rows.

    Args:
        named: outputs that rules are about.
        nulls: as ``feeds.feeds``.

    Raises:
        RejectError: a column or an output is not there or does not fit. MillraceError: the model fails.
    """
    file.require([holdout.label, *columns_of(laid_out)])
    at_once, names = rows_at_once(laid_out, _RUN_ROWS), session.signature.output_names
    _require_outputs([*named], names)
    unreadable = {name for name, spec in session.signature.outputs.items() if spec.datatype == "BF16"}  # its bits
    _require_outputs([holdout.output] if holdout.output else [], [name for name in names if name not in unreadable])
    labels: list[Array] = []
    kept: dict[str, list[Array]] = {}
    first: Feeds = {}
    scores, classes, chosen = "", (), ""
    for batch in file.batches([holdout.label, *columns_of(laid_out)], holdout.max_rows):
        labels.append(_labels(batch.column(holdout.label)))
        for start in range(0, batch.num_rows, at_once):
            fed = feeds(laid_out, batch.slice(start, at_once), nulls=nulls)
            found = dict(zip(names, session.run(fed, names), strict=True))
            if not first:
                first = fed
                readable = {name: each for name, each in found.items() if name not in unreadable}
                scores, chosen = select(readable, len(next(iter(fed.values()))), holdout.output)
                classes = tuple(found[scores].classes) if scores else ()
            for name in {scores, chosen, *named} - {""}:
                kept.setdefault(name, []).append(_of_rows(name, found[name], min(at_once, batch.num_rows - start)))
    whole = {name: np.concatenate(parts) for name, parts in kept.items()}
    predictions = Predictions(
        labels=np.concatenate(labels) if labels else np.array([], dtype=object),
        predicted=whole.get(chosen),
        scores=whole.get(scores),
        classes=classes,
        positive=holdout.positive or "",
        threshold=holdout.threshold,
    )
    return Predicted(predictions, {name: whole.get(name, np.array([])) for name in named}, first)


def select(outputs: Mapping[str, OutputTensor], rows: int, wanted: str | None) -> tuple[str, str]:
    """The output of scores or values, and that of classes; empty: there is none."""
    usable = {wanted: outputs[wanted]} if wanted else outputs
    scores = [name for name, found in usable.items() if found.values.dtype.kind == "f" and _width(found.values, rows)]
    classes = [
        name
        for name, found in usable.items()
        if found.values.dtype.kind in "iubOSU" and _width(found.values, rows) == 1
    ]
    return next(iter(scores), ""), next(iter(classes), "")


def _width(values: Array, rows: int) -> int:
    """Numbers per row; 0: it is not of that form."""
    if values.ndim not in (1, _MATRIX) or len(values) != rows:
        return 0
    return 1 if values.ndim == 1 else int(values.shape[1])


def _of_rows(name: str, found: OutputTensor, rows: int) -> Array:
    values = found.values
    if values.ndim < 1 or len(values) != rows:
        raise RejectError(f"output {name!r} has the shape {list(values.shape)} for {rows} rows", field=FIELD)
    return values[:, 0] if values.ndim == _MATRIX and values.shape[1] == 1 else values


def _labels(column: pa.Array) -> Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count or not pa.types.is_primitive(column.type):
        return np.array(column.to_pylist(), dtype=object)
    values: Array = column.to_numpy(zero_copy_only=False)
    return values


def _require_outputs(wanted: Sequence[str], there: Sequence[Any]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise RejectError(
            f"the model has no output {missing[0]!r}, it has {', '.join(there)}", field=FIELD, reason="NoOutput"
        )
