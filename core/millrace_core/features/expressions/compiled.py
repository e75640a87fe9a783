"""The expressions of a view, compiled: what each computes, from which features, and when.

An expression without request fields is *stored*. It is evaluated when rows are materialized, and in training over the
features as they were visible. It is *row-bound* where it reads a column feature, directly or through other expressions,
or where the view has no aggregates. A row-bound expression is null where no row is visible. One that is not row-bound
reads aggregates alone, which have a value at all times, and so it has one, too.

An expression that reads ``request.<field>``, directly or through others, is *on demand*. It is evaluated at every read,
over features that are null where nothing is visible.

An expression that needs more than in proportion to what it reads (``growth``) takes values up to a length. Where one is
longer it cannot be computed for this row, wherever that is.

The value is cast to the declared type. Where it cannot be computed for a row (an overflow, a text that is no number, a
value out of range) it is null for this row, in training and online alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from millrace_core.api.feature import FeatureSpec, FeatureType, element_type
from millrace_core.api.featureview import FeatureViewSpec
from millrace_core.api.names import digest
from millrace_core.base.errors import RejectError
from millrace_core.features.expressions.expressions import (
    REQUEST,
    Expression,
    parse,
    require_known,
    too_large,
    type_of,
)
from millrace_core.features.expressions.growth import Growth
from millrace_core.features.expressions.growth_rules import NUMBER, Bound, TooLargeError
from millrace_core.features.expressions.polynomial import INPUT, constant, variable
from millrace_core.features.expressions.sql_writer import Name

# SQL types of the declared ones. Times are UTC without a zone.
SQL: Final[Mapping[str, str]] = {
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "bytes": "BLOB",
    "timestamp": "TIMESTAMP",
}
_TEXT: Final = Bound(variable(INPUT), constant(0))
_LIST: Final = Bound(variable(INPUT), variable(INPUT).times(1 / 8))
_BOUNDS: Final[Mapping[str, Bound]] = {kind: _TEXT if kind in ("string", "bytes") else NUMBER for kind in SQL}
_INTEGERS: Final = frozenset(
    f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
)
_TEXTS: Final = frozenset(["VARCHAR", "BLOB"])
_TIMES: Final = frozenset(
    ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"]
)
_TAKEN: Final[Mapping[str, frozenset[str]]] = {
    "bool": frozenset(["BOOLEAN"]),
    "int32": _INTEGERS,
    "int64": _INTEGERS,
    "float32": _INTEGERS | {"FLOAT", "DOUBLE", "DECIMAL"},
    "float64": _INTEGERS | {"FLOAT", "DOUBLE", "DECIMAL"},
    "string": _TEXTS,
    "bytes": _TEXTS,
    "timestamp": _TIMES,
}


class InputFeature(NamedTuple):
    """A feature that is no expression; ``meaning`` decides its values (``Feature.meaning``)."""

    type: FeatureType
    meaning: str
    is_column: bool


@dataclass(frozen=True)
class CompiledExpression:
    """One compiled expression.

    Attributes:
        expression: as parsed.
        uses: the features that it reads itself.
        request: the request fields that it reads itself.
        came: its SQL type before the cast.
        on_demand: evaluated at every read.
        row_bound: null where no row is visible; matters for stored ones only.
        meaning: a text that changes whenever its values could.
        longest: how many bytes each text, and how many eighths each list that it reads may have; None: any.
        growth: what it needs for a row, over values of any length.
    """

    expression: Expression
    uses: tuple[str, ...]
    request: tuple[str, ...]
    came: str
    on_demand: bool
    row_bound: bool
    meaning: str
    longest: int | None
    growth: Growth


def sql_type(declared: FeatureType) -> str:
    """The SQL type of a declared one."""
    element = element_type(declared)
    return SQL[declared] if element is None else f"{SQL[element]}[]"


def compile_expressions(spec: FeatureViewSpec, given: Mapping[str, InputFeature]) -> dict[str, CompiledExpression]:
    """Compiles the expressions of a view.

    Args:
        spec: of the view.
        given: its features without an expression, by name.

    Returns:
        The expressions by feature name, each after those that it reads.

    Raises:
        RejectError: an expression is not pure, reads an unknown name or itself, or has another type than declared;
            names the field and the token.
    """
    view = _Compiler(spec, given)
    for name in view.places:
        view.compile(name, ())
    return view.done


class _Compiler:
    def __init__(self, spec: FeatureViewSpec, given: Mapping[str, InputFeature]) -> None:
        self.places = {f.name: index for index, f in enumerate(spec.features) if f.expression is not None}
        self.done: dict[str, CompiledExpression] = {}
        self._features = spec.features
        self._given = given
        self._request = {field.name: field.type for field in spec.request_fields or ()}
        self._known: list[Name] = [(feature.name,) for feature in spec.features]
        self._known += [(REQUEST, field) for field in self._request]
        self._rows_alone = all(feature.is_column for feature in given.values())

    def compile(self, name: str, stack: tuple[str, ...]) -> CompiledExpression:
        """Compiles one expression, after those that it reads."""
        if name in self.done:
            return self.done[name]
        feature = self._features[self.places[name]]
        where = f"spec.features[{self.places[name]}].expression"
        _require_alone(feature, where)
        _require_no_circle(name, stack, where)
        expression = parse(feature.expression or "", where=where)
        require_known(expression, self._known, where=where, what="features and request fields of the view")
        uses = tuple(each[0] for each in expression.names if len(each) == 1)
        request = tuple(each[1] for each in expression.names if len(each) > 1)
        read = {use: self.compile(use, (*stack, name)) for use in uses if use in self.places}
        types: dict[Name, str] = {(use,): sql_type(self._types(use)) for use in uses}
        types |= {(REQUEST, field): sql_type(self._request[field]) for field in request}
        longest, growth = self._limits(expression, read, where)
        came = type_of(expression, types, where=where)
        _require_fit(came, feature.type, where)
        on_demand = bool(request) or any(each.on_demand for each in read.values())
        columns = any(self._given[use].is_column for use in uses if use in self._given)
        self.done[name] = CompiledExpression(
            expression,
            uses,
            request,
            came,
            on_demand=on_demand,
            row_bound=self._rows_alone or columns or any(each.row_bound for each in read.values()),
            meaning=self._meaning(expression, uses, request, longest),
            longest=longest,
            growth=growth,
        )
        return self.done[name]

    def _types(self, name: str) -> FeatureType:
        return self._given[name].type if name in self._given else self._features[self.places[name]].type

    def _limits(
        self, expression: Expression, read: Mapping[str, CompiledExpression], where: str
    ) -> tuple[int | None, Growth]:
        """How long what it reads may be, and what it needs."""

        def own(name: Name) -> Bound:
            return _BOUNDS.get(self._request[name[1]] if len(name) > 1 else self._types(name[0]), _LIST)

        def through(name: Name) -> Bound:
            """In what the expressions that it reads are made of: each alone may grow a little."""
            made = read.get(name[0]) if len(name) == 1 else None
            if made is None or own(name) is NUMBER:
                return own(name)
            value = made.growth.value
            return value if made.longest is None else value.at(made.longest)

        try:
            growth, chained = expression.growth(own), expression.growth(through)
            return (None, chained) if growth.free and chained.free else (growth.longest(), growth)
        except TooLargeError as error:
            raise too_large(error, where) from None

    def _meaning(self, expression: Expression, uses: Sequence[str], request: Sequence[str], longest: int | None) -> str:
        """The canonical text and a digest of what the names in it mean."""
        features = {
            use: [self._types(use), self._given[use].meaning if use in self._given else self.done[use].meaning]
            for use in uses
        }
        names: dict[str, Any] = {"features": features, "request": {field: self._request[field] for field in request}}
        if longest is not None:
            names["longest"] = longest
        return f"{expression.text} # {digest(names)[:16]}"


def _require_alone(feature: FeatureSpec, where: str) -> None:
    if feature.column is not None or feature.aggregate is not None:
        raise RejectError(
            f"{feature.name!r} has an expression and {'a column' if feature.column else 'an aggregate'}",
            hint="Leave one of the two out",
            field=where,
        )


def _require_no_circle(name: str, stack: Sequence[str], where: str) -> None:
    if name in stack:
        raise RejectError(
            f"{name!r} reads itself: {' -> '.join([*stack[stack.index(name) :], name])}",
            hint="Break the circle",
            field=where,
            reason="BadExpression",
        )


def _require_fit(came: str, declared: FeatureType, where: str) -> None:
    element = element_type(declared)
    kind = came
    if element is not None and came != '"NULL"':
        if not came.endswith("]"):
            raise _misfit(came, declared, where)
        kind = came[: came.rindex("[")]
    if kind.partition("(")[0] not in _TAKEN[element or declared] | {'"NULL"'}:
        raise _misfit(came, declared, where)


def _misfit(came: str, declared: FeatureType, where: str) -> RejectError:
    return RejectError(
        f"it gives {came}, which is no {declared}",
        hint=f"Write cast(… as {sql_type(declared)}) where that is meant, or declare another type",
        field=where,
        reason="WrongExpressionType",
    )
