from __future__ import annotations

import math
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_core.features.definition.definition import Definition
from millrace_core.features.evaluation.engine import Engine
from millrace_core.features.evaluation.program import Program
from millrace_core.features.history.entity_frame import EntityFrame
from millrace_core.features.history.history import TimeRange
from millrace_core.features.offline import point_in_time
from millrace_core.features.offline.latest import latest
from millrace_core.features.online import row_encoder
from millrace_core.features.online.on_demand import FeatureReader
from millrace_core.features.online.row import Layout
from millrace_core.features.types.conform import ARROW
from tests.core.features.expressions.test_compiled import computed, view
from tests.core.features.histories import TableSource, times
from tests.examples import examples


def value(expression: str, kind: str, columns: dict[str, tuple[str, Any]]) -> Any:
    """What an expression gives for one row."""
    given = [{"name": name, "type": each} for name, (each, _) in columns.items()]
    definition = view(computed("x", expression, kind), columns=given or [{"name": "unused", "type": "bool"}])
    program = Program(definition, ["x"], ())
    inputs = [columns[each.name[0]][1] for each in program.inputs]
    arrays = [pa.array([cell], ARROW[each.type]) for cell, each in zip(inputs, program.inputs, strict=True)]
    (by_column,), errors = program.arrays(arrays, pa.array([True]), pa.array([True]))
    ((one,),), same_errors = program.values([[cell] for cell in inputs], 1)
    assert errors == same_errors
    assert by_column.type == ARROW[kind]  # type: ignore[index]
    assert same(raw(by_column).to_pylist()[0], one)
    return one


def raw(column: pa.Array) -> pa.Array:
    """Times as microseconds."""
    if pa.types.is_list(column.type) and pa.types.is_timestamp(column.type.value_type):
        return column.cast(pa.list_(pa.int64()))
    return column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column


def same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize(
    ("expression", "kind", "columns", "expected"),
    [
        ("amount / nullif(n, 0)", "float64", {"amount": ("float64", 3.0), "n": ("int64", 2)}, 1.5),
        ("amount / nullif(n, 0)", "float64", {"amount": ("float64", 3.0), "n": ("int64", 0)}, None),
        ("a + 1", "int32", {"a": ("int32", 2**31 - 1)}, None),
        ("a::bigint + 1", "int64", {"a": ("int32", 2**31 - 1)}, 2**31),
        ("a / 0", "float64", {"a": ("float64", -1.0)}, -math.inf),
        ("a::int", "int32", {"a": ("string", "x")}, None),
        ("a", "float32", {"a": ("float64", 0.1)}, struct.unpack("f", struct.pack("f", 0.1))[0]),
        ("a", "float64", {"a": ("float32", math.nan)}, math.nan),
        ("-a", "float64", {"a": ("float64", 0.0)}, -0.0),
        ("a || '!'", "string", {"a": ("string", "é\0")}, "é\0!"),
        ("a || ''::blob", "bytes", {"a": ("bytes", b"\xff\0")}, b"\xff\0"),
        ("encode(a)", "string", {"a": ("string", "é")}, "é"),
        ("a", "bytes", {"a": ("string", "é\\x41")}, "é\\x41".encode()),
        ("a", "string", {"a": ("bytes", b"\xff")}, None),
        ("date_trunc('day', t)", "timestamp", {"t": ("timestamp", -1)}, -86_400_000_000),
        ("t::date", "timestamp", {"t": ("timestamp", 86_400_000_001)}, 86_400_000_000),
        ("epoch_us(t)", "int64", {"t": ("timestamp", -5)}, -5),
        ("hour(timezone('Europe/Berlin', timezone('UTC', t)))", "int64", {"t": ("timestamp", 0)}, 1),
        ("to_timestamp(0)", "timestamp", {}, 0),
        ("list_sum(e)", "float64", {"e": ("array<float32>", [1.5, None, 2.0])}, 3.5),
        ("list_cosine_similarity(e, [1, 0]::float[])", "float32", {"e": ("array<float32>", [2.0, 0.0])}, 1.0),
        ("list_transform(e, lambda x: x + 1)", "array<int64>", {"e": ("array<int64>", [1, None])}, [2, None]),
        ("e", "array<timestamp>", {"e": ("array<timestamp>", [-1, None])}, [-1, None]),
        ("e[2]", "string", {"e": ("array<string>", ["a", "b"])}, "b"),
        ("md5_number_lower(a || ':' || b) % 1000", "int64", {"a": ("string", "x"), "b": ("string", "y")}, 516),
    ],
)
def test_an_expression_gives_by_column_what_it_gives_by_row(
    expression: str, kind: str, columns: dict[str, tuple[str, Any]], expected: Any
) -> None:
    assert same(value(expression, kind, columns), expected)


def source(rows: list[tuple[int, int, float | None]]) -> TableSource:
    ids, moments, amounts = zip(*rows, strict=True)
    return TableSource(
        pa.table(
            {
                "user_id": pa.array(ids, pa.int64()),
                "event_timestamp": times(moments),
                "amount": pa.array(amounts, pa.float64()),
            }
        )
    )


def test_a_stored_expression_is_null_where_no_row_is_visible_and_an_on_demand_one_sees_null() -> None:
    definition = view(
        computed("filled", "coalesce(amount, 0)"),
        computed("asked", "coalesce(amount, request.fallback)"),
        columns=[{"name": "amount", "type": "float64"}],
        request={"fallback": "float64"},
    )
    frame = EntityFrame(
        {"user_id": pa.array([1, 2, 1])}, pa.array([5, 5, 0]), request={"fallback": pa.array([7, 8, 9], pa.int8())}
    )

    features = [definition.feature[name] for name in ("filled", "asked")]
    filled, asked = point_in_time.join(definition, features, source([(1, 3, None)]), frame)

    assert filled.to_pylist() == [0.0, None, None]
    assert asked.to_pylist() == [7.0, 8.0, 9.0]


def test_a_frame_without_a_request_field_is_told_its_name() -> None:
    definition = view(computed("asked", "request.cart + amount"), request={"cart": "float64"})
    frame = EntityFrame({"user_id": pa.array([1])}, pa.array([5]))

    with pytest.raises(RejectError, match=r"entity_df.cart: there is no column 'cart'.*Add a column of float64"):
        point_in_time.join(definition, [definition.feature["asked"]], source([(1, 3, 1.0)]), frame)
    wrong = EntityFrame({"user_id": pa.array([1])}, pa.array([5]), request={"cart": pa.array(["x"])})
    with pytest.raises(RejectError, match=r"entity_df.cart: column 'cart' .* string.*Convert the column to float64"):
        point_in_time.join(definition, [definition.feature["asked"]], source([(1, 3, 1.0)]), wrong)


def test_what_fails_twice_in_an_expression_is_null_as_what_fails_once() -> None:
    definition = view(
        computed("x", "cast(a as double)", "float64"),
        computed("y", "cast((request.r::int + request.r::int) * coalesce(x, 1) as double)", "float64"),
        columns=[{"name": "a", "type": "float64"}],
        request={"r": "float64"},
    )
    amounts, asked = [0.5, 0.5, 0.5], [None, 2.0, 2147483648.0]
    there = pa.array([True] * 3)
    program = Program(definition, ["y", "x"], ())
    assert program.values([amounts, asked], 3) == ([(None, 2.0, None), tuple(amounts)], {"y": 1})
    (y, _), errors = program.arrays([pa.array(amounts), pa.array(asked)], there, there)
    assert (y.to_pylist(), errors) == ([None, 2.0, None], {"y": 1})


CASES = [
    ("s::int", "int32", ["1", "x", None, "2", ""], [1, None, None, 2, None], 2),
    ("try_cast(s as int)", "int32", ["1", "x", None], [1, None, None], 0),
    ("try(s::int)", "int32", ["1", "x", None], [1, None, None], 0),
    ("nullif(s, 'x')", "string", ["1", "x", None], ["1", None, None], 0),
    ("s::int / 0", "float64", ["1", "x", None], [math.inf, None, None], 1),
    ("s::date", "timestamp", ["1970-01-02", "2026-02-30", None], [86_400_000_000, None, None], 1),
    ("s::timestamp", "timestamp", ["infinity", "1970-01-01"], [None, 0], 1),
    ("s::bigint::int + 1", "int32", [str(2**31 - 1), str(2**31), "1", None], [None, None, 2, None], 2),
    ("cast('x' as int)", "int32", ["1", "2", None], [None] * 3, 3),
    ("nullif(1.5, 1.5 % 0)", "float64", ["1"], [None], 1),
    ("null", "int32", ["1", None], [None] * 2, 0),
    ("list_transform([s], lambda x: x::int)", "array<int32>", ["1", "x", None], [[1], None, [None]], 1),
]


@pytest.mark.parametrize(("expression", "kind", "texts", "values", "failing"), CASES)
def test_rows_for_which_an_expression_fails_are_null_and_are_counted_and_a_null_that_it_gives_is_none_of_them(
    expression: str, kind: str, texts: list[str | None], values: list[Any], failing: int
) -> None:
    definition = view(computed("n", expression, kind), columns=[{"name": "s", "type": "string"}])
    program = Program(definition, ["n"], ())
    inputs = program.inputs or ()
    there = pa.array([True] * len(texts))

    by_column = program.arrays([pa.array(texts, pa.string())] * len(inputs), there, there)
    by_row = program.values([texts] * len(inputs), len(texts))

    errors = {"n": failing} if failing else {}
    assert (raw(by_column.values[0]).to_pylist(), by_column.errors) == (values, errors)
    assert ([*by_row.values[0]], by_row.errors) == (values, errors)


def test_what_fails_is_counted_for_the_feature_that_fails_and_not_for_those_that_read_it_nor_where_no_row_is() -> None:
    definition = view(
        computed("n", "s::int", "int32"),
        computed("more", "n + 1", "int32"),
        computed("asked", "coalesce(more, 0) + request.r::int", "int32"),
        columns=[{"name": "s", "type": "string"}],
        request={"r": "string"},
    )
    program = Program(definition, ["asked", "more"], ())
    texts, asked = pa.array(["x", "x", "2147483647", "3"]), pa.array(["1", "y", "1", "z"])
    visible = pa.array([False, True, True, True])

    found = program.arrays([texts, asked], visible, visible)

    assert [each.to_pylist() for each in found.values] == [[1, None, 1, None], [None, None, None, 4]]
    assert found.errors == {"n": 1, "more": 1, "asked": 2}


@pytest.mark.parametrize(
    ("expression", "kind", "given", "short", "long"),
    [
        ("levenshtein(a, b)", "int64", "string", "x" * 100, "x" * 200_000),
        ("replace(a, 'x', b)", "string", "string", "yy", "x" * 200_000),
        ("array_to_string(list_transform(a, lambda x: x || b[1]), '')", "string", "array<string>", ["x"], ["x"] * 9999),
        ("list_sum(list_transform(a, lambda x: x * list_sum(b)))", "float64", "array<float64>", [2.0], [2.0] * 99_999),
        ("lower(hex(a || hex(b))) || hex(a || a)", "string", "bytes", b"a", b"a" * 2**20),
    ],
)
def test_a_value_that_is_longer_than_an_expression_takes_fails_for_its_row_in_training_and_online(
    expression: str, kind: str, given: str, short: Any, long: Any
) -> None:
    columns = [{"name": "a", "type": given}, {"name": "b", "type": given}]
    definition = view(computed("x", expression, kind), columns=columns)
    program = Program(definition, ["x"], ())
    cells = [short, long, None, short]
    there = pa.array([True] * 4)

    (by_column,), errors = program.arrays([pa.array(cells, ARROW[given])] * 2, there, there)  # type: ignore[index]
    ((*by_row,),), same_errors = program.values([cells, cells], 4)

    assert by_column.to_pylist() == by_row
    assert by_row[0] is not None
    assert by_row[1:] == [None, None, by_row[0]]
    assert errors == same_errors == {"x": 1}


def test_expressions_that_read_each_other_grow_together_no_more_than_one() -> None:
    chain = [computed("x0", "a || a", "string")]
    chain += [computed(f"x{index}", f"x{index - 1} || x{index - 1}", "string") for index in range(1, 40)]
    definition = view(*chain, columns=[{"name": "a", "type": "string"}])
    program = Program(definition, ["x2", "x39"], ())

    ((first, last), errors) = program.values([["a"]], 1)

    assert first == ("a" * 8,)
    assert last == (None,)
    assert next(iter(errors)) > "x15"
    assert set(errors.values()) == {1}


def test_each_of_many_expressions_is_counted_by_itself() -> None:
    many = 150
    definition = view(
        *(computed(f"x{index}", f"(s::int + {index})::tinyint", "int32") for index in range(many)),
        columns=[{"name": "s", "type": "string"}],
    )
    names = [f"x{index}" for index in range(many)]
    program = Program(definition, names, ())
    texts = ["0", "100", "x", None]
    there = pa.array([True] * 4)

    errors = program.arrays([pa.array(texts)], there, there).errors

    assert errors == {name: 1 + (index > 127) + (index > 27) for index, name in enumerate(names)}
    assert program.values([texts], 4).errors == errors


NUMBERS = st.floats(width=32) | st.none()
INTEGERS = st.none() | st.integers(-(2**63), 2**63 - 1)
REQUEST = st.none() | st.floats() | st.integers(-(2**60), 2**60).map(float)


def expressions() -> st.SearchStrategy[str]:
    leaves = st.sampled_from(["a", "b", "n", "request.r", "1.5", "0", "-2", "null"])
    binary = st.sampled_from(["({} + {})", "({} * {})", "({} - {})", "({} / {})", "nullif({}, {})", "greatest({}, {})"])
    binary |= st.sampled_from(["coalesce({}, {})", "least({}, {})", "case when {} > 0.5 then {} end", "({} % {})"])
    unary = st.sampled_from(["-({})", "abs({})", "sqrt({})", "ln({})", "floor({})", "exp({})", "round({}, 2)"])
    unary |= st.sampled_from(["length(({})::varchar)", "try_cast(({})::varchar as double)", "sin({})", "({})::int"])
    return st.recursive(
        leaves,
        lambda inner: st.builds(str.format, binary, inner, inner) | st.builds(str.format, unary, inner),
        max_leaves=8,
    )


@settings(max_examples=examples(0.75), suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_same_bits_come_out_of_training_and_of_stored_rows(data: st.DataObject, tmp_path_factory: Any) -> None:
    columns = [{"name": "a", "type": "float64"}, {"name": "b", "type": "float32"}, {"name": "n", "type": "int64"}]
    kind = data.draw(st.sampled_from(["float64", "float32"]))
    texts = [data.draw(expressions()) for _ in range(2)]
    try:
        definition = view(
            computed("x", f"cast({texts[0]} as double)", kind),
            computed("y", f"cast(({texts[1]}) * coalesce(x, 1) as double)", "float64"),
            columns=columns,
            request={"r": "float64"},
        )
    except RejectError:
        return
    rows = data.draw(
        st.lists(st.tuples(NUMBERS, NUMBERS, st.none() | st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=8)
    )
    asked = data.draw(st.lists(REQUEST, min_size=len(rows), max_size=len(rows)))
    history = TableSource(
        pa.table(
            {
                "user_id": pa.array(range(len(rows)), pa.int64()),
                "event_timestamp": times([1] * len(rows)),
                "a": pa.array([row[0] for row in rows], pa.float64()),
                "b": pa.array([row[1] for row in rows], pa.float32()),
                "n": pa.array([row[2] for row in rows], pa.int64()),
            }
        )
    )
    wanted = ["y", "x", "a"]
    ids = [*range(len(rows)), 99]
    frame = EntityFrame(
        {"user_id": pa.array(ids)}, pa.array([1] * len(ids)), request={"r": pa.array([*asked, 2.0], pa.float64())}
    )
    training = point_in_time.join(definition, [definition.feature[name] for name in wanted], history, frame)

    stored = stored_rows(definition, history, Engine(str(tmp_path_factory.mktemp("spill"))))
    online = FeatureReader(definition, wanted).read([stored.get(id_) for id_ in ids], 1, {"r": [*asked, 2.0]})

    for name, offline, column in zip(wanted, training, online.features, strict=True):
        for there, here in zip(offline.to_pylist(), column.values, strict=True):
            assert same(there, here), (name, texts, there, here)


def stored_rows(definition: Definition, history: TableSource, engine: Engine) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for rows in latest(definition, history, TimeRange(None, 10), engine):
        packed = row_encoder.encode(Layout.of(definition), rows.event_times, rows.created_times, rows.features)
        found |= zip(rows.keys[0].to_pylist(), packed.to_pylist(), strict=True)
    return found


@pytest.mark.parametrize("expression", ["'x' or a > 1", "'x' and a > 1", "a > 1 or cast('x' as bool)"])
def test_a_constant_that_cannot_be_computed_is_no_fault_of_the_query(expression: str) -> None:
    definition = view(computed("x", expression, "bool"), columns=[{"name": "a", "type": "int64"}])
    program = Program(definition, ["x"], ())
    there = pa.array([True])
    assert program.arrays([pa.array([1])], there, there).errors == {"x": 1}
    assert program.values([[1]], 1).errors == {"x": 1}
