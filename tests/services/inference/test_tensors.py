"""Tensors cross JSON without ever changing their kind, shape or value."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference.tensors import NUMPY, TensorSpec, check_shape, from_json, from_output, spec_of

INTEGERS = {name: np.iinfo(dtype) for name, dtype in NUMPY.items() if dtype.kind in "iu"}


def spec(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 2)) -> TensorSpec:
    return TensorSpec("x", datatype, shape)


@pytest.mark.parametrize(
    ("kind", "datatype"),
    [
        ("tensor(float)", "FP32"),
        ("tensor(double)", "FP64"),
        ("tensor(int64)", "INT64"),
        ("tensor(string)", "BYTES"),
        ("tensor(bool)", "BOOL"),
        ("tensor(uint8)", "UINT8"),
        ("tensor(float16)", "FP16"),
    ],
)
def test_element_types_of_onnx_runtime_have_protocol_datatypes(kind, datatype):
    assert spec_of("x", kind, ["batch", None, 3]) == TensorSpec("x", datatype, (-1, -1, 3))


@pytest.mark.parametrize("kind", ["seq(map(int64,tensor(float)))", "seq(map(string,tensor(float)))"])
def test_a_list_of_maps_counts_as_the_matrix_of_its_values(kind):
    assert spec_of("p", kind, []) == TensorSpec("p", "FP32", (-1, -1))
    values, classes = from_output([{"no": 0.25, "yes": 0.75}, {"no": 1.0, "yes": 0.0}])
    assert classes == ["no", "yes"]
    assert values.tolist() == [[0.25, 0.75], [1.0, 0.0]]


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "map(int64,tensor(float))", "tensor(complex64)", "optional"])
def test_a_type_without_tensor_form_is_refused_by_name(kind):
    with pytest.raises(RejectError, match="'x' of the model has type"):
        spec_of("x", kind, [])


@pytest.mark.parametrize(
    "shape",
    [[2], [1, 3], [1, 2, 1], [-1, 2], ["1", 2], [True, 2], [1.0, 2], [1, 2.0], None, 2, "12", []],
)
def test_a_wrong_shape_is_named_with_what_is_expected(shape):
    with pytest.raises(RejectError, match=r"input 'x': shape .* came, \[-1, 2\] is expected"):
        check_shape(shape, spec())


@given(st.lists(st.floats(width=32), min_size=0, max_size=20).filter(lambda v: len(v) % 2 == 0))
def test_floats_come_through_bit_by_bit_flat_and_nested(values):
    rows = len(values) // 2
    sent = [None if math.isnan(value) else value for value in values]
    expected = np.array(values, dtype=np.float32).reshape(rows, 2)
    flat = from_json(sent, (rows, 2), spec())
    nested = from_json([sent[2 * row : 2 * row + 2] for row in range(rows)], (rows, 2), spec())
    np.testing.assert_array_equal(flat, expected)
    np.testing.assert_array_equal(nested, expected)
    assert flat.dtype == np.float32


@given(st.sampled_from(sorted(INTEGERS)), st.data())
def test_integers_come_through_exactly_and_never_out_of_range(datatype, data):
    limits = INTEGERS[datatype]
    value = data.draw(st.integers(limits.min, limits.max))
    assert from_json([value], (1,), spec(datatype, (-1,))).tolist() == [value]
    outside = data.draw(st.sampled_from([limits.min - 1, limits.max + 1]))
    with pytest.raises(RejectError, match="input 'x'"):
        from_json([outside], (1,), spec(datatype, (-1,)))


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", ["1.5"], "numbers or null"),
        ("FP32", [True], "numbers or null"),
        ("FP64", [None, "a"], "numbers or null"),
        ("FP64", [{}], "numbers or null"),
        ("INT64", [1.0], "integers are expected for INT64"),
        ("INT64", [None], "integers"),
        ("INT64", [True], "integers"),
        ("UINT8", [-1], "UINT8 takes 0 to 255"),
        ("UINT8", [256], "UINT8 takes 0 to 255"),
        ("BOOL", [1], "true and false"),
        ("BYTES", [1], "strings are expected for BYTES"),
        ("BYTES", [None], "strings"),
        ("FP16", [1.0], "FP16 has no JSON form"),
    ],
)
def test_a_value_of_another_kind_is_refused_never_converted(datatype, data, expected):
    with pytest.raises(RejectError, match="input 'x'") as caught:
        from_json(data, (len(data),), spec(datatype, (-1,)))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ([1.0], (1, 2)),
        ([1.0, 2.0, 3.0], (1, 2)),
        ([[1.0]], (1, 2)),
        ([[1.0, 2.0], [3.0]], (2, 2)),
        ([[[1.0, 2.0]]], (1, 2)),
        ([[1.0, 2.0], 3.0], (2, 2)),
        ([], (1, 2)),
        ({}, (1, 2)),
        ("ab", (1, 2)),
        (None, (1, 2)),
    ],
)
def test_data_that_does_not_fill_its_shape_is_refused(data, shape):
    with pytest.raises(RejectError, match="input 'x'"):
        from_json(data, shape, spec())


def test_a_huge_shape_allocates_nothing():
    with pytest.raises(RejectError, match="2 values came"):
        from_json([1.0, 2.0], (10**12, 2), spec())


def test_no_rows_are_a_tensor_too():
    assert from_json([], (0, 2), spec()).shape == (0, 2)


def test_nested_strings_stay_strings():
    assert from_json([["a", ""], ["ü", "1"]], (2, 2), spec("BYTES")).tolist() == [["a", ""], ["ü", "1"]]


@pytest.mark.parametrize("nested", [False, True])
def test_texts_among_numbers_take_no_more_memory_than_came(nested):
    values = ["x" * 1_000_000, *[1.5] * 9_999]
    data, shape = ([[value] for value in values], (10_000, 1)) if nested else (values, (10_000,))
    tracemalloc.start()
    with pytest.raises(RejectError, match="strings came"):
        from_json(data, shape, TensorSpec("x", "FP32", (-1,) * len(shape)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000
