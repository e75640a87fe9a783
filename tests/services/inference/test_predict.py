"""Rows by entity: what /predict takes and answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from millrace_core.base.errors import RejectError
from millrace_services.inference import predict, predict_json
from millrace_services.inference.note import Note
from millrace_services.inference.signature import Signature
from millrace_services.inference.tensors import TensorSpec, from_output

SIGNATURE = Signature(
    [TensorSpec("x", "FP32", (-1, 2)), TensorSpec("n", "INT64", (-1, 1)), TensorSpec("s", "BYTES", (-1,))],
    [TensorSpec("y", "FP32", (-1,))],
)


def body(**parts) -> bytes:
    return json.dumps(parts).encode()


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ({"entities": []}, 'entities: "entities" is no object'),
        ({"entities": {"u": [1]}, "inputs": {"features": [[1, 2]]}}, "inputs: 'inputs' is no part of this request"),
        ({"entity": {"u": [1]}}, "entity: 'entity' is no part of this request. Send join keys in \"entities\""),
        ({"entities": {"u": 5}}, "entities.u: 5 came, a list with one value per row is expected"),
        ({"entities": {"u": []}}, "entities.u: [] came"),
        ({"entities": {"u": [1], "v": [1, 2]}}, "entities.v: 2 values came, others have 1"),
        ({"entities": {"u": [1]}, "request": []}, 'request: "request" is no object'),
    ],
)
def test_what_is_wrong_with_entities_is_named(parts, sentence):
    with pytest.raises(RejectError) as caught:
        predict_json.decode(body(**parts), joins=True)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"x": 5}, "request.x: 5 came, a list with one value per row is expected"),
        ({"x": [[1, 2]], "s": ["a", "b"]}, "request.s: 2 values came, others have 1"),
    ],
)
def test_without_features_rows_are_counted_by_the_requests_fields_which_errors_name(fields, sentence):
    with pytest.raises(RejectError) as caught:
        predict_json.decode(body(request=fields), joins=False)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "rows"),
    [({}, 1), ({"entities": {}}, 1), ({"request": {"factor": [1, 2]}}, 2), ({"entities": {"u": [1, 2, 3]}}, 3)],
)
def test_features_of_views_without_entities_need_none_and_have_one_row_or_those_of_the_request(parts, rows):
    assert predict_json.decode(body(**parts), joins=True).rows == rows


def test_entities_for_a_deployment_without_features_are_refused():
    with pytest.raises(RejectError, match="this deployment joins no features"):
        predict_json.decode(body(entities={"u": [1]}), joins=False)


def test_open_inputs_come_from_the_request_per_row_or_once_for_all():
    request = predict_json.decode(body(entities={"u": [1, 2]}, request={"n": 7, "s": ["a", "b"]}), joins=True)
    feeds = predict.feeds(request, SIGNATURE, {"x"})
    assert feeds["n"].tolist() == [[7], [7]]
    assert feeds["s"].tolist() == ["a", "b"]
    request = predict_json.decode(body(request={"x": [[1, 2]], "n": [[3]], "s": ["a"]}), joins=False)
    assert predict.feeds(request, SIGNATURE, set())["x"].tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n": 1}, "request.s: the model needs this input"),
        ({"n": 1, "s": "a", "x": 1}, "request.x: the model takes no such input from the request. It takes n, s"),
        ({"n": [1], "s": "a"}, "request.n: 1 values came, there are 2 rows"),
        ({"n": [1, "b"], "s": "a"}, "input 'n'"),
        ({"n": [[1, 2], [3, 4]], "s": "a"}, "input 'n': shape [2, 2] came, [-1, 1] is expected"),
    ],
)
def test_what_is_wrong_with_the_request_is_named(fields, sentence):
    request = predict_json.decode(body(entities={"u": [1, 2]}, request=fields), joins=True)
    with pytest.raises(RejectError) as caught:
        predict.feeds(request, SIGNATURE, {"x"})
    assert sentence in str(caught.value)


def test_fields_that_the_model_does_not_take_are_for_features_and_those_of_one_value_per_row_may_be() -> None:
    fields = {"cart": 3.5, "x": [1, 2], "n": [7, 8], "s": [["a"], ["b"]], "query": [[0.1], [0.2]]}
    request = predict_json.decode(body(entities={"u": [1, 2]}, request=fields), joins=True)

    alone, also = predict.for_features(request, SIGNATURE, {"x"})

    assert alone == {"cart": [3.5, 3.5], "x": [1, 2], "query": [[0.1], [0.2]]}
    assert also == {"n": [7, 8]}
    assert set(predict.feeds(request._replace(fields={**fields, "s": "a"}), SIGNATURE, {"x"}, alone)) == {"n", "s"}


def test_the_answer_has_the_first_output_as_predictions_and_all_of_them_by_name():
    results = [np.array([1, 0]), [{0: 0.25, 1: 0.75}, {0: 1.0, 1: 0.0}], np.array(["a", "b"], dtype=object)]
    outputs = [TensorSpec("label", "INT64", (-1,)), TensorSpec("p", "FP32", (-1, -1)), TensorSpec("s", "BYTES", (-1,))]
    note = Note("7")
    encoded = [from_output(each) for each in results]
    answer = json.loads(predict_json.encode(Signature([], outputs), encoded, {"name": "m"}, note))
    assert answer == {
        "id": note.id,
        "predictions": [1, 0],
        "outputs": {"label": [1, 0], "p": [[0.25, 0.75], [1.0, 0.0]], "s": ["a", "b"]},
        "model": {"name": "m"},
    }
    note.missing = 3
    counted = json.loads(predict_json.encode(Signature([], outputs), encoded, {"name": "m"}, note))
    assert counted == answer | {"features": {"missing": 3}}
