"""The worst-case cost of an expression, in cel-go's cost units.

Kubernetes refuses CRDs by this estimate, so it follows the oldest version that Millrace supports, step by step: cel-go
0.17.8 (``checker/cost.go``) with the library of Kubernetes 1.30 (``k8s.io/apiserver/pkg/cel/library/cost.go``). Later
versions only estimate less. Only upper bounds are kept. A path leads from ``self`` through the declaration to the place
of a value, whose schema bounds its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from millrace_core.schema.cel.declarations import Declaration, map_key
from millrace_core.schema.cel.syntax import (
    CallExpr,
    Expr,
    IdentExpr,
    ListExpr,
    LiteralExpr,
    MacroExpr,
    MapExpr,
    SelectExpr,
)

UNBOUNDED = 2**64 - 1

_TRAVERSAL, _REGEX = 0.1, 0.25  # cost per character of a string and of a pattern
_LIST_BASE, _MAP_BASE = 10, 30
_SCALARS = frozenset({"bool", "double", "duration", "int", "timestamp", "uint"})
_QUANTIFIER_STEP = {"all": 1 + 2, "exists": 1 + 3}  # accumulator, loop condition
_ITEMS, _KEYS, _VALUES = "@items", "@keys", "@values"


def estimate(expr: Expr, root: Declaration) -> int:
    """The maximum cost of one evaluation of a checked expression on ``root``."""
    return _Estimate(root).cost(expr)


def times(left: int, right: int) -> int:
    """The product, at most UNBOUNDED."""
    return min(left * right, UNBOUNDED)


def _plus(*costs: int) -> int:
    return min(sum(costs), UNBOUNDED)


def _scaled(size: int, factor: float) -> int:
    return UNBOUNDED if size >= UNBOUNDED else min(math.ceil(size * factor), UNBOUNDED)


class _Estimate:
    """One walk over an expression; sizes and paths by node."""

    def __init__(self, root: Declaration) -> None:
        self.root = root
        self.paths: dict[Expr, tuple[str, ...]] = {}
        self.sizes: dict[Expr, int] = {}
        self.ranges: dict[str, list[Expr]] = {}

    def cost(self, expr: Expr) -> int:  # noqa: PLR0911 - one return per kind of node
        match expr:
            case IdentExpr():
                return self._ident(expr)
            case SelectExpr():
                return self._select(expr)
            case CallExpr():
                return self._call(expr)
            case ListExpr(items=items):
                return _plus(_LIST_BASE, *map(self.cost, items))
            case MapExpr(entries=entries):
                return _plus(_MAP_BASE, *(self.cost(part) for entry in entries for part in entry))
            case MacroExpr():
                return self._macro(expr)
        return 0

    def _ident(self, expr: IdentExpr) -> int:
        ranges = self.ranges.get(expr.name)
        if ranges:
            source = ranges[-1]
            step = _KEYS if source.type.kind == "map" else _ITEMS
            self.paths[expr] = (*self.paths.get(source, ()), step)
        else:
            self.paths[expr] = (expr.name,)
        return 1

    def _select(self, expr: SelectExpr) -> int:
        cost = self.cost(expr.operand)
        if expr.test:
            return cost
        self.paths[expr] = (*self.paths.get(expr.operand, ()), expr.field)
        return _plus(cost, 1) if expr.operand.type.kind in {"map", "object"} else cost

    def _macro(self, expr: MacroExpr) -> int:
        before = self.cost(expr.source)
        size = self.size(expr.source)
        self.ranges.setdefault(expr.variable, []).append(expr.source)
        predicate = self.cost(expr.predicate) if expr.predicate is not None else 0
        transform = self.cost(expr.transform) if expr.transform is not None else 0
        self.ranges[expr.variable].pop()
        self.sizes[expr] = size
        if expr.kind in _QUANTIFIER_STEP:
            start, step, end = 0, _plus(_QUANTIFIER_STEP[expr.kind], predicate), 1
        elif expr.kind == "exists_one":
            start, step, end = 0, _plus(predicate, 2), 2
        else:
            kept = _plus(2 + _LIST_BASE, 1 if expr.kind == "filter" else transform)
            start, step, end = _LIST_BASE, _plus(predicate, kept), 1
        return _plus(before, start, end, times(size, step))

    def _call(self, expr: CallExpr) -> int:
        args = [self.cost(arg) for arg in expr.args]
        target = self.cost(expr.target) if expr.target is not None else 0
        if expr.function == "_?_:_":
            self.sizes[expr] = max(self.size(expr.args[1]), self.size(expr.args[2]))
            return _plus(args[0], max(args[1], args[2]))
        own = self._own_cost(expr)
        self._index_path(expr)
        return _plus(*args, target, own)

    def _index_path(self, expr: CallExpr) -> None:
        if expr.function == "_[_]":
            step = _VALUES if expr.args[0].type.kind == "map" else _ITEMS
            self.paths[expr] = (*self.paths.get(expr.args[0], ()), step)

    def _own_cost(self, expr: CallExpr) -> int:
        estimator = _CALLS.get(expr.function)
        if estimator is None:
            return 0 if expr.function in {"_&&_", "_||_"} else 1
        operands = ([expr.target] if expr.target is not None else []) + expr.args
        cost, size = estimator(expr, [self.size(operand) for operand in operands], self)
        if size is not None:
            self.sizes[expr] = size
        return cost

    def size(self, expr: Expr) -> int:
        """The maximum number of characters, items or entries of the value."""
        known = self.sizes.get(expr)
        if known is not None:
            return known
        match expr:
            case LiteralExpr(value=value):
                return len(value) if isinstance(value, str | bytes) else 1
            case ListExpr(items=parts) | MapExpr(entries=parts):
                return len(parts)
        declared = self.declared_size(self.paths.get(expr, ()))
        if declared is not None:
            return declared
        return 1 if expr.type.kind in _SCALARS else UNBOUNDED

    def declared_size(self, path: tuple[str, ...]) -> int | None:
        """The bound that the schema sets at a path; None if there is no such path."""
        if not path:
            return None
        at: Declaration | None = self.root
        for name in path[1:]:
            if at is None:
                return None
            if name in {_ITEMS, _VALUES}:
                at = at.item
            elif name == _KEYS:
                at = map_key() if at.type.kind == "map" else None
            else:
                at = at.fields.get(name)
        return None if at is None else at.max_size

    def item_size(self, source: Expr) -> int:
        """The size bound of a list's items."""
        path = self.paths.get(source)
        declared = self.declared_size((*path, _ITEMS)) if path else None
        return UNBOUNDED if declared is None else declared


Estimator = Callable[[CallExpr, list[int], _Estimate], tuple[int, int | None]]


def _traversal(of: int, factor: float = 1.0, *, keeps_size: bool = False) -> Estimator:
    """A cost proportional to the size of operand ``of``."""

    def estimator(_expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
        return _scaled(sizes[of], factor * _TRAVERSAL), sizes[of] if keeps_size else None

    return estimator


def _equality(_expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    return _scaled(min(sizes), _TRAVERSAL), None


def _order(expr: CallExpr, sizes: list[int], estimate: _Estimate) -> tuple[int, int | None]:
    textual = any(overload.params[0].kind in {"string", "bytes"} for overload in expr.overloads)
    plain = any(overload.params[0].kind not in {"string", "bytes"} for overload in expr.overloads)
    return max(_equality(expr, sizes, estimate)[0] if textual else 0, 1 if plain else 0), None


def _addition(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    kinds = {overload.params[0].kind for overload in expr.overloads}
    if not kinds & {"string", "bytes", "list"}:
        return 1, None
    size = _plus(*sizes)
    return max(_scaled(size, _TRAVERSAL) if kinds & {"string", "bytes"} else 1, 1), size


def _membership(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    in_list = any(overload.params[1].kind == "list" for overload in expr.overloads)
    return sizes[1] if in_list else 1, None


def _pattern(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    cost = times(_scaled(_plus(sizes[0], 1), _TRAVERSAL), _scaled(sizes[1], _REGEX))
    return cost, None if expr.function == "matches" else sizes[0]


def _contains(_expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    return times(_scaled(sizes[0], _TRAVERSAL), _scaled(sizes[1], _TRAVERSAL)), None


def _list_walk(expr: CallExpr, sizes: list[int], estimate: _Estimate) -> tuple[int, int | None]:
    """isSorted, sum, min, max; indexOf and lastIndexOf, which strings have too."""
    source = expr.target
    if source is None or source.type.kind != "list":
        return _scaled(sizes[0], _TRAVERSAL), None
    each = 1
    if source.type.params[0].kind in {"string", "bytes"}:
        each = _plus(1, _scaled(estimate.item_size(source), _TRAVERSAL))
    return times(sizes[0], each), None


def _replacement(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    size, _, by = sizes[:3]
    replaced = expr.args[0]
    shortest = len(replaced.value) if isinstance(replaced, LiteralExpr) else 0
    if shortest == 0:  # an empty string is found before every character and at the end
        result = _plus(times(_plus(size, 1), by), size)
    else:
        result = size if by <= shortest else times(math.ceil(size / shortest), by)
    return _scaled(size, 2 * _TRAVERSAL), result


def _set_comparison(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    factor = 2 if expr.function == "sets.equivalent" else 1
    return _plus(times(times(sizes[0], sizes[1]), factor), 1), None


def _splitting(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    most = sizes[0]
    if len(expr.args) > 1 and isinstance(expr.args[1], LiteralExpr):
        most = expr.args[1].value if expr.args[1].value >= 0 else UNBOUNDED
    return _scaled(sizes[0], 2 * _TRAVERSAL), most


def _joining(expr: CallExpr, sizes: list[int], estimate: _Estimate) -> tuple[int, int | None]:
    size = times(sizes[0], estimate.item_size(expr.target)) if expr.target is not None else 0
    if len(sizes) > 1:
        size = _plus(size, times(sizes[1], max(sizes[0] - 1, 0)))
    return _scaled(size, _TRAVERSAL), size


def _text_to_bytes(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    if not any(overload.params[0].kind == "string" for overload in expr.overloads):
        return 1, None
    return _scaled(sizes[0], _TRAVERSAL), times(sizes[0], 4)


def _bytes_to_text(expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    if not any(overload.params[0].kind == "bytes" for overload in expr.overloads):
        return 1, None
    return _scaled(sizes[0], _TRAVERSAL), sizes[0]


def _quoting(_expr: CallExpr, sizes: list[int], _estimate: _Estimate) -> tuple[int, int | None]:
    return _scaled(sizes[0], _TRAVERSAL), _plus(times(sizes[0], 2), 2)


_CALLS: dict[str, Estimator] = {
    **dict.fromkeys(("_==_", "_!=_"), _equality),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), _order),
    **dict.fromkeys(("isSorted", "sum", "min", "max", "indexOf", "lastIndexOf"), _list_walk),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim"), _traversal(0, keeps_size=True)),
    **dict.fromkeys(("startsWith", "endsWith"), _traversal(1)),
    **dict.fromkeys(("url", "quantity", "isQuantity", "format"), _traversal(0)),
    **dict.fromkeys(("matches", "find", "findAll"), _pattern),
    **dict.fromkeys(("sets.contains", "sets.equivalent", "sets.intersects"), _set_comparison),
    "_+_": _addition,
    "@in": _membership,
    "contains": _contains,
    "replace": _replacement,
    "split": _splitting,
    "join": _joining,
    "bytes": _text_to_bytes,
    "string": _bytes_to_text,
    "strings.quote": _quoting,
}
