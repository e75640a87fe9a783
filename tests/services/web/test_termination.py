"""A termination message is whole JSON, however long an error is and however many bytes its characters take."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from millrace_core.base.errors import RejectError
from millrace_services.inference import result
from millrace_services.web import termination

TEXTS = st.builds(
    lambda text, times: text * times, st.text(st.characters(codec="utf-8"), max_size=5), st.integers(0, 5000)
)


@given(TEXTS, TEXTS)
def test_an_error_of_any_length_fits(message: str, field: str) -> None:
    document = result.of_error(RejectError(message, field=field, reason="BadModel"))
    content = orjson.dumps(document)
    assert len(content) <= termination.MOST_BYTES
    found = orjson.loads(content)["error"]
    assert found["reason"] == "BadModel"


def test_a_short_error_stays_as_it_is() -> None:
    error = RejectError("no file", hint="Upload it", field="spec.model.uri").as_dict()
    assert termination.shortened(error) == error
