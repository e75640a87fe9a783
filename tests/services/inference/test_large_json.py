"""Large tensors in JSON are read and written in pieces as they are whole, mistakes too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference import json_tensors, large_json, protocol
from millrace_services.inference.json_tensors import dumps, to_json
from millrace_services.inference.large_json import NotPlainError
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec

SIGNATURE = Signature(
    [TensorSpec("a", "FP32", (-1, 2)), TensorSpec("b", "INT64", (-1,))], [TensorSpec("y", "FP32", (-1, 2))]
)
TOKENS = [
    "1",
    "-2.5",
    "1e3",
    "7",
    "null",
    "true",
    '"NaN"',
    "NaN",
    "[",
    "]",
    ",",
    " ",
    "\n",
    "01",
    "[1,2]",
    "}",
    '"data":[1,2]',
]
A = '"name":"a","datatype":"FP32","shape":[%d,2]'
B = '"name":"b","datatype":"INT64","shape":[%d]'


@contextmanager
def pieces_of(size: int, values: int = 10**9) -> Iterator[None]:
    """Everything from ``size`` bytes, or so many values, is large, and made in pieces of that size."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (large_json, protocol):
            patch.setattr(module, "LARGE", size)
        patch.setattr(large_json, "_PIECE", size)
        patch.setattr(large_json, "LARGE_VALUES", values)
        patch.setattr(large_json, "_VALUES", values)
        yield


def outcome(body: str) -> Any:
    try:
        decoded = protocol.decode(body.encode(), SIGNATURE)
    except RejectError as error:
        return str(error)
    return [(name, values.dtype, values.shape, values.tobytes()) for name, values in decoded.feeds.items()]


def lists(values: list[float]) -> st.SearchStrategy[str]:
    """Values, an even number of them, as JSON flat and nested, close together and apart."""
    pairs = [values[at : at + 2] for at in range(0, len(values), 2)]
    return st.sampled_from([json.dumps(each, **how) for each in (values, pairs) for how in ({}, {"indent": 1})])


numbers = st.lists(st.tuples(st.floats(-1e40, 1e40), st.integers(-(10**6), 10**6)), max_size=9)
plain = numbers.flatmap(lambda found: st.tuples(st.just(len(found)), lists([each for pair in found for each in pair])))
texts = st.lists(st.sampled_from(TOKENS), max_size=9).map("".join)
soup = st.tuples(st.integers(0, 4), texts.map(lambda text: f"[{text}]"))


@given(plain | soup, texts, st.integers(1, 40), st.booleans())
@example((1, "[1,2]"), '"data":0,', 1, True)
@example((1, "[1,2]],"), "", 1, False)
@example((2, "[[1,2]3,[4,5]]"), "", 1, False)
def test_a_request_is_taken_or_refused_as_if_it_were_read_whole(tensor, text, size, other_first):
    rows, data = tensor
    inputs = [f'{{{A % rows},"data" : {data}}}', f'{{"data":[5 , {rows}],{text}{B % 2}}}']
    given = ",".join(inputs[::-1] if other_first else inputs)
    body = f'{{"id":"\\"data\\":[1,2]","inputs":[{given}]}}'
    with pieces_of(10**9):
        whole = outcome(body)
    with pieces_of(size):
        assert outcome(body) == whole


def test_numbers_are_read_in_pieces_and_no_list_holds_them_all(monkeypatch):
    lengths: list[int] = []
    packed: Callable[..., Any] = json_tensors._packed
    monkeypatch.setattr(json_tensors, "_packed", lambda data, spec: lengths.append(len(data)) or packed(data, spec))
    rows = 100_000
    data = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2).tolist()
    tensor = {"name": "a", "datatype": "FP32", "shape": [rows, 2], "data": data}
    one = {"name": "b", "datatype": "INT64", "shape": [1], "data": [1]}
    decoded = protocol.decode(json.dumps({"inputs": [tensor, one]}).encode(), SIGNATURE)
    assert decoded.feeds["a"].tolist() == data
    assert sum(lengths) == 2 * rows + 1
    assert max(lengths) < large_json.LARGE / 10


def test_a_shape_that_claims_more_than_came_allocates_nothing():
    with pieces_of(8), pytest.raises(RejectError, match="2 values came"):
        protocol.decode(
            b'{"inputs":[{"name":"a","datatype":"FP32","shape":[1000000000000,2],"data":[1.00,2.00]}]}', SIGNATURE
        )
    with pytest.raises(NotPlainError):
        large_json.read(b"[1.00,2.00]", (10**12, 2), np.dtype("f4"), np.array)


@given(
    st.lists(st.floats(width=32), min_size=2, max_size=20).filter(lambda values: len(values) % 2 == 0),
    st.integers(1, 9),
    st.booleans(),
)
def test_an_answer_is_written_in_pieces_as_it_is_whole(values, size, nested):
    array = np.array(values, np.float32).reshape((-1, 2) if nested else -1)

    def content() -> bytes:
        answer = {"data": to_json(array, "FP32")}
        return dumps(answer, partial(list, [(answer, "data")]))

    with pieces_of(10**9):
        whole = content()
    with pieces_of(10**9, size):
        assert content() == whole
