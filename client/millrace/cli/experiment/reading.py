"""Files of an experiment's data: sums per arm as JSON, or a table of units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import orjson

from millrace.cli.experiment import tables
from millrace_core.base.errors import NotFoundError, RejectError
from millrace_core.base.shown import shown
from millrace_core.experiments import metric
from millrace_core.experiments.metric import Epoch, Kind, Sums
from millrace_core.stats import arguments
from millrace_core.stats.sums import Counts, Moments, Pairs

_TABLES: Final = (".csv", ".parquet")
_TOP: Final = frozenset({"kind", "plannedUnits", "arms", "epochs"})
_ARM: Final = frozenset({"name", "control", "weight"})
_COUNTS: Final = ("n", "sum")
_MOMENTS: Final = ("n", "sum", "sumOfSquares")
_RATIO: Final = (*_MOMENTS, "denominatorSum", "denominatorSumOfSquares", "sumOfProducts")
_COVARIATE: Final = (*_MOMENTS, "covariateSum", "covariateSumOfSquares", "sumOfProducts")


@dataclass(frozen=True)
class Data:
    """What a file says.

    Attributes:
        kind: of the metric.
        control: name of the arm.
        epochs: oldest first.
        left_out: units that were seen in two arms.
        planned: units of control and one challenger together, where the file says so.
    """

    kind: Kind
    control: str
    epochs: list[Epoch]
    left_out: int = 0
    planned: int | None = None


def read(file: Path, kind: str, control: str) -> Data:
    """The data of a file.

    Args:
        file: ``.csv`` or ``.parquet``: a table; anything else is JSON.
        kind: of the metric; empty: what the file says.
        control: name of the control; empty: what the file says.

    Raises:
        RejectError: the file cannot be read, or says what cannot be; the field is that of the file.
    """
    if file.suffix.lower() in _TABLES:
        return _table(file, kind, control)
    try:
        content = orjson.loads(file.read_bytes())
    except OSError as error:
        raise RejectError(f"{file} cannot be read: {error.strerror or error}") from error
    except orjson.JSONDecodeError as error:
        raise RejectError(
            f"{file} is no JSON: {error}",
            hint="Give JSON of sums per arm, or a table whose name ends with .csv or .parquet",
        ) from error
    return _json(content, kind, control)


def _table(file: Path, kind: str, control: str) -> Data:
    if not file.exists():
        raise NotFoundError(f"there is no file {file}")
    if not control:
        raise RejectError("a table does not say which arm is the control", hint="Name it by --control", field="control")
    if not kind:
        raise RejectError("a table does not say what its values are", hint="Give --kind", field="kind")
    known = metric.kind(kind)
    found = tables.read(file, known)
    return Data(known, _known(control, found.sums), [Epoch(found.sums, dict.fromkeys(found.sums, 1.0))], found.left_out)


def _json(content: Any, kind: str, control: str) -> Data:
    whole = _object(content, _TOP, "")
    known = metric.kind(kind or _text(whole.get("kind", ""), "kind"))
    if ("arms" in whole) == ("epochs" in whole):
        raise RejectError("either arms, or epochs with arms each, are expected", field="arms")
    listed = [(whole, "")]
    if "epochs" in whole:
        listed = [
            (_object(each, frozenset({"arms"}), f"epochs[{index}]"), f"epochs[{index}].")
            for index, each in enumerate(_list(whole["epochs"], "epochs"))
        ]
    epochs = []
    controls: set[str] = {control} if control else set()
    for each, path in listed:
        arms = _list(each.get("arms"), f"{path}arms")
        named, epoch = _epoch(arms, known, f"{path}arms")
        epochs.append(epoch)
        controls |= set() if control else named
    if len(controls) != 1:
        what = f"{', '.join(sorted(controls))} are" if controls else "none is"
        raise RejectError(
            f"exactly one arm is the control, {what}", hint='Write "control": true, or give --control', field="arms"
        )
    if len({type(sums) for epoch in epochs for sums in epoch.sums.values()}) > 1:
        raise RejectError("some arms have a covariate and others have none", hint="Give it for all", field="arms")
    planned = whole.get("plannedUnits")
    names = {arm: sums for epoch in reversed(epochs) for arm, sums in epoch.sums.items()}
    return Data(
        known,
        _known(controls.pop(), names),
        epochs,
        planned=None if planned is None else arguments.count(planned, "plannedUnits"),
    )


def _epoch(arms: list[Any], kind: Kind, path: str) -> tuple[set[str], Epoch]:
    controls: set[str] = set()
    sums: dict[str, Sums] = {}
    weights: dict[str, float] = {}
    for index, each in enumerate(arms):
        where = f"{path}[{index}]"
        arm = _object(each, _ARM | {*_RATIO, *_COVARIATE}, where)
        name = _text(arm.get("name", ""), f"{where}.name")
        if name in sums:
            raise RejectError(f"two arms are called {shown(name)}", field=f"{where}.name")
        if not isinstance(arm.get("control", False), bool):
            raise RejectError(f"true or false is expected, {shown(arm['control'])} came", field=f"{where}.control")
        controls |= {name} if arm.get("control") else set()
        weights[name] = arguments.finite(arm.get("weight", 1), f"{where}.weight")
        sums[name] = _sums(arm, kind, where)
    return controls, Epoch(sums, weights)


def _sums(arm: Mapping[str, Any], kind: Kind, path: str) -> Sums:
    covariate = kind == "mean" and "covariateSum" in arm
    wanted = {"proportion": _COUNTS, "mean": _COVARIATE if covariate else _MOMENTS, "ratio": _RATIO}[kind]
    unknown = sorted(arm.keys() - _ARM - {*wanted, *(("sumOfSquares",) if kind == "proportion" else ())})
    if unknown:
        raise RejectError(f"it is none of the sums of a {kind}: {', '.join(wanted)}", field=f"{path}.{unknown[0]}")
    for name in wanted:
        if name not in arm:
            raise RejectError(f"it is missing; a {kind} has {', '.join(wanted)}", field=f"{path}.{name}")
    numbers = {name: arguments.exact(arm[name], f"{path}.{name}") for name in wanted if name != "n"}
    n = arguments.count(arm["n"], f"{path}.n")
    try:
        return _made(kind, n, numbers, covariate=covariate)
    except RejectError as error:
        error.field = f"{path}.{'sum' if error.field == 'successes' else error.field}"
        raise


def _made(kind: Kind, n: int, numbers: Mapping[str, Any], *, covariate: bool) -> Sums:
    if kind == "proportion":
        return Counts(n, arguments.count(numbers["sum"], "sum"))
    y = Moments(n, Fraction(numbers["sum"]), Fraction(numbers["sumOfSquares"]))
    if kind == "mean" and not covariate:
        return y
    of = "covariate" if covariate else "denominator"
    try:
        x = Moments(n, Fraction(numbers[f"{of}Sum"]), Fraction(numbers[f"{of}SumOfSquares"]))
    except RejectError as error:
        error.field = of + error.field[:1].upper() + error.field[1:]
        raise
    return Pairs(y, x, Fraction(numbers["sumOfProducts"]))


def _known(control: str, sums: Mapping[str, Sums]) -> str:
    if control not in sums:
        raise RejectError(f"no arm is called {shown(control)}; there are {', '.join(sums)}", field="control")
    return control


def _object(value: Any, known: frozenset[str], path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RejectError(f"an object is expected, {shown(value)} came", field=path)
    unknown = sorted(value.keys() - known)
    if unknown:
        field = f"{path}.{unknown[0]}" if path else unknown[0]
        raise RejectError(f"it is not known; there are {', '.join(sorted(known))}", field=field)
    return value


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise RejectError(f"a list is expected, {shown(value)} came", field=path)
    return value


def _text(value: Any, path: str) -> str:
    if not isinstance(value, str) or not value:
        raise RejectError(f"a text is expected, {shown(value)} came", field=path)
    return value
