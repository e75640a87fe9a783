"""Expressions, from their text to values: refused, or computed alike for training and for reads, within bounded work.

A body is a text; after ``#`` its bytes choose the productions of a grammar instead, so that edits of bytes are edits of
trees. After ``@`` they choose what stands within itself, and how often.
"""

from __future__ import annotations

import math
import signal
import struct
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

from millrace_core.api.feature import FeatureType
from millrace_core.api.featureview import FeatureView
from millrace_core.features.definition import definition
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.program import Program
from millrace_core.features.expressions import expressions
from millrace_core.features.expressions.compiled import sql_type
from millrace_core.features.expressions.functions import FUNCTIONS
from millrace_core.features.types.conform import ARROW
from tests import builders

_COLUMNS: Final[dict[str, tuple[FeatureType, list[Any]]]] = {
    "a": ("int64", [0, -(2**63), 2**63 - 1, None]),
    "x": ("float64", [0.0, math.inf, -1e308, None]),
    "s": ("string", ["", "é" * 300, "2026-01-01 12:00", None]),
    "l": ("array<float64>", [[], [1.0, math.nan], [float(i) for i in range(200)], None]),
    "t": ("timestamp", [0, 253402300799_000000, -62135596800_000000, None]),
    "b": ("bool", [True, False, None, True]),
}
_ROWS: Final = 4
_NAMES: Final = [*_COLUMNS]
_FUNCTIONS: Final = sorted(FUNCTIONS)
_CONSTANTS: Final = ["0", "1", "-1", "1.5", "9223372036854775808", "1e308", "null", "''", "'%5d{}'", "'(a|b)*'", "true"]
_BINARY: Final = ["+", "-", "*", "/", "//", "%", "||", "=", "<", "and", "or", "<<", "^", "like", "is distinct from"]
_TYPES: Final = ["bigint", "double", "varchar", "timestamp", "double[]", "varchar[]", "decimal(38,10)", "boolean"]
_FORMS: Final[dict[int, tuple[str, list[str]]]] = {
    3: ("({} {word} {})", _BINARY),
    4: ("cast({} as {word})", _TYPES),
    5: ("case when {} then {} else {} end", [""]),
    6: ("list_transform({}, q -> {})", [""]),
}
_DEPTH: Final = 12
_NESTED: Final = [
    ("nullif(", ", 1)"),
    ("case ", " when 1 then 2 when 3 then 4 end"),
    ("(", " between 1 and 2)"),
    ("concat(", ", s, s)"),
    ("list_transform(l, q -> ", ")"),
    ("-(", ")"),
    ("cast(", " as varchar)"),
    ("replace(s, 'é', ", "::varchar)"),
    ("[", "]"),
    ("lpad(s, 1000, ", "::varchar)"),
    ("string_split(s, ", "::varchar)"),
]
# A call that does not come back is ended by a signal, which is a finding.
_SECONDS: Final = 60
# Which declared type takes what an expression gives.
_DECLARED: Final[dict[str, FeatureType]] = {
    "BOOLEAN": "bool",
    "INTEGER": "int64",
    "BIGINT": "int64",
    "HUGEINT": "int64",
    "DOUBLE": "float64",
    "DECIMAL": "float64",
    "VARCHAR": "string",
    "BLOB": "bytes",
    "DATE": "timestamp",
    "TIMESTAMP": "timestamp",
    "DOUBLE[]": "array<float64>",
    "VARCHAR[]": "array<string>",
    "BIGINT[]": "array<int64>",
    "INTEGER[]": "array<int64>",
}

SEEDS: Final = [
    b"a + 1",
    b"x / nullif(a, 0) * 2",
    b"case when b then upper(s) else s || 'x' end",
    b"list_sum(list_transform(l, q -> q * x))",
    b"try_cast(s as timestamp) - t > interval 1 day",
    b"format('{:>10}', s)",
    b"regexp_replace(s, '(a|b)+', '\\\\0\\\\0', 'g')",
    b"[1, 2][a] between 0 and 5",
    *(b"#" + bytes((seed * 37 + i * i * 11) % 256 for i in range(60)) for seed in range(12)),
    *(b"@" + bytes([kind, times]) + b"a" for kind in range(len(_NESTED)) for times in (3, 40, 255)),
]


def check(body: bytes) -> None:
    """Raises ``RejectError`` where the expression is refused, and anything else where it should have been."""
    text = _text(body)
    signal.alarm(_SECONDS)
    try:
        _check(text)
    finally:
        signal.alarm(0)


def _text(body: bytes) -> str:
    if body[:1] == b"#":
        return _grown(iter(body[1:]), 0)
    if body[:1] == b"@" and len(body) > 2:
        begin, end = _NESTED[body[1] % len(_NESTED)]
        return begin * body[2] + body[3:].decode("utf-8", "replace") + end * body[2]
    return body.decode("utf-8", "surrogateescape")


def _grown(choices: Iterator[int], depth: int) -> str:
    kind, which = next(choices, 0) % 9, next(choices, 0)
    if kind <= 1 or depth > _DEPTH:
        return _NAMES[which % len(_NAMES)]
    if kind == 2:
        return _CONSTANTS[which % len(_CONSTANTS)]
    if kind in _FORMS:
        form, words = _FORMS[kind]
        word = words[which % len(words)]
        return form.format(*(_grown(choices, depth + 1) for _ in range(form.count("{}"))), word=word)
    name = _FUNCTIONS[(which << 8 | next(choices, 0)) % len(_FUNCTIONS)]
    return f"{name}({', '.join(_grown(choices, depth + 1) for _ in range(next(choices, 0) % 4))})"


def _check(text: str) -> None:
    parsed = expressions.parse(text, where="x")
    known = {(name,): sql_type(kind) for name, (kind, _) in _COLUMNS.items()}
    expressions.require_known(parsed, known, where="x", what="columns")
    came = expressions.type_of(parsed, {name: known[name] for name in parsed.names}, where="x")
    declared = _DECLARED.get(came.partition("(")[0])
    if declared is not None:
        _evaluate(_view(text, declared))


def _view(text: str, declared: FeatureType) -> Definition:
    columns = [{"name": name, "type": kind} for name, (kind, _) in _COLUMNS.items()]
    made = {"name": "made", "type": declared, "expression": text}
    document = builders.feature_view("v").having("spec.features", [*columns, made]).build()
    return definition.compile("v", "default", FeatureView.model_validate(document).spec)


def _evaluate(view: Definition) -> None:
    program = Program(view, ["made"], ())
    given = [_COLUMNS[each.name[0]][1] for each in program.inputs]
    arrays = [pa.array(cells, ARROW[each.type]) for cells, each in zip(given, program.inputs, strict=True)]
    there = pa.array([True] * _ROWS)
    (trained,), errors = program.arrays(arrays, there, there)
    (served,), same_errors = program.values(given, _ROWS)
    assert errors == same_errors, (errors, same_errors)
    column = trained
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    assert [_bits(each) for each in column.to_pylist()] == [_bits(each) for each in served], (column, served)


def _bits(value: Any) -> Any:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("d", value)
    return [_bits(each) for each in value] if isinstance(value, list) else value
