"""Tensors cross JSON without ever changing their kind, shape or value."""

from __future__ import annotations

import math
import tracemalloc
from functools import partial

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference.json_tensors import dumps, from_json, quoted, to_json
from millrace_services.inference.tensors import NUMPY, TensorSpec, check_shape, from_output, spec_of

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
    [[2], [1, 3], [1, 2, 1], [-1, 2], ["1", 2], [True, 2], [1.0, 2], [1, 2.0], 2, "12", []],
)
def test_a_wrong_shape_is_named_with_what_is_expected(shape):
    with pytest.raises(
        RejectError, match=r"input 'x': shape .* came, \[-1, 2\] is expected \(-1: any size of 0 and more\)"
    ):
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
        ("BYTES", ["a", True], "true or false came, strings are expected"),
        ("INT8", [1, True], "true or false came, integers are expected for INT8"),
        ("FP32", [1.5, True], "true or false came"),
        ("BOOL", [True, 1], "integers came, true and false"),
        ("FP32", ["Infinite"], "the string 'Infinite' came"),
        ("INT64", ["Infinity"], "strings came, integers"),
        ("FP32", [1.5, 1e39], "1e+39 came, FP32 has no number beyond 3.40282e+38"),
        ("FP32", [None, "Infinity", -1e300], "1e+300 came, FP32 has no number beyond"),
        ("FP16", [65520.0], "65520 came, FP16 has no number beyond 65504"),
        ("BF16", [1e39], "1e+39 came, BF16 has no number beyond"),
    ],
)
def test_a_value_of_another_kind_is_refused_never_converted(datatype, data, expected):
    with pytest.raises(RejectError, match="input 'x'") as caught:
        from_json(data, (len(data),), spec(datatype, (-1,)))
    assert expected in str(caught.value)


VALUES = st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.sampled_from(["NaN", "Inf", "", [1.0], {}])


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from(["FP32", "FP64", "INT64", "UINT8", "BOOL", "BYTES"]))
def test_without_booleans_the_same_is_taken_and_refused(data, datatype):
    def outcome(**known):
        try:
            return from_json(data, (len(data),), spec(datatype, (-1,)), **known).tobytes()
        except RejectError as error:
            return str(error)

    assert outcome(booleans=False) == outcome()


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


def test_what_is_no_finite_number_has_a_name_and_comes_back_by_it():
    sent = ["NaN", "Infinity", "-Infinity", None, 0.1]
    read = from_json(sent, (5,), spec(shape=(-1,)))
    np.testing.assert_array_equal(read, np.array([np.nan, np.inf, -np.inf, np.nan, 0.1], np.float32))
    for datatype, dtype in (("FP32", np.float32), ("FP64", np.float64), ("FP16", np.float16)):
        answer = {"data": to_json(read.astype(dtype), datatype)}
        written = orjson.loads(dumps(answer, partial(list, [(answer, "data")])))["data"]
        assert written[:4] == [None, "Infinity", "-Infinity", None]
        assert dtype(written[4]) == dtype(read[4])
    nested = {"data": to_json(np.array([[0.1, np.inf]], np.float32), "FP32")}
    assert dumps(nested, lambda: [(nested, "data")]) == b'{"data":[[0.1,"Infinity"]]}'


def test_numbers_that_are_no_json_are_quoted_outside_of_strings_alone():
    bare = rb'{"id": "NaN \" NaN", "data": [NaN, -Infinity,Infinity ,Inf, 1], "Infinity": NaNs}'
    assert quoted(bare) == (
        rb'{"id": "NaN \" NaN", "data": ["NaN", "-Infinity","Infinity" ,"Inf", 1], "Infinity": NaNs}'
    )


@given(st.binary())
def test_bytes_without_such_numbers_stay_as_they_are(content):
    text = content.replace(b"N", b"n").replace(b"I", b"i")
    assert quoted(text) == text


def test_texts_without_an_end_are_looked_through_once():
    assert len(quoted(b'"' + b'\\"' * 2_000_000)) == 4_000_001


def test_bfloat16_is_the_nearest_number_and_a_tie_goes_to_the_even():
    sent = [1.0, 1 + 2**-8, 1 + 3 * 2**-8, 3e38, "NaN", "-Infinity"]
    bits = from_json(sent, (6,), spec("BF16", (-1,)))
    assert [hex(each) for each in bits] == ["0x3f80", "0x3f80", "0x3f82", "0x7f62", "0x7fc0", "0xff80"]
    assert to_json(bits[:3], "BF16").tolist() == [1.0, 1.0, 1 + 2**-6]


def test_an_input_of_any_rank_takes_any_shape_of_sizes():
    unranked = spec_of("x", "tensor(float)", [], ranked=False)
    assert unranked.described()["shape"] == [-1]
    for shape in ([], [3], [2, 0, 4], [1] * 32):
        assert check_shape(shape, unranked) == tuple(shape)
    for shape in ([-1], ["a"], 5, [1] * 33, [True], [2**40, 0]):
        with pytest.raises(RejectError, match="input 'x': shape"):
            check_shape(shape, unranked)


def test_a_tensor_without_values_claims_no_more_than_a_small_one_has():
    assert check_shape([0, 2**24], spec(shape=(-1, -1))) == (0, 2**24)
    with pytest.raises(RejectError, match="claims much"):
        check_shape([0, 2**24 + 1], spec(shape=(-1, -1)))


def test_nested_strings_stay_strings():
    assert from_json([["a", ""], ["ü", "1"]], (2, 2), spec("BYTES")).tolist() == [["a", ""], ["ü", "1"]]


@pytest.mark.parametrize("nested", [False, True])
def test_texts_among_numbers_take_no_more_memory_than_came(nested):
    values = ["x" * 1_000_000, *[1.5] * 9_999]
    data, shape = ([[value] for value in values], (10_000, 1)) if nested else (values, (10_000,))
    tracemalloc.start()
    with pytest.raises(RejectError, match="the string 'xxx"):
        from_json(data, shape, TensorSpec("x", "FP32", (-1,) * len(shape)))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5_000_000
