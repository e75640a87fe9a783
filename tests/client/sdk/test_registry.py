"""What a service refuses is for its caller what it was for the service."""

from __future__ import annotations

import httpx
import pytest

from millrace.sdk.registry import error_of
from millrace_core.base.errors import MillraceError, NotFoundError, RejectError, ReportError, RetryError
from millrace_services.web import errors


@pytest.mark.parametrize(
    "raised",
    [
        RejectError("no", field="entities"),
        NotFoundError("no"),
        errors.TooLargeError("no"),
        errors.ConflictError("no", field="id"),
        errors.OverloadedError("no"),
        errors.DeadlineError("no"),
        RetryError("no"),
        ReportError("no", field="spec.features"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_has_the_same_kind_on_both_sides(raised: MillraceError) -> None:
    status, body, _ = errors.render(raised)
    found = error_of(httpx.Response(status, content=body), "no answer")
    kinds = (NotFoundError, RejectError, RetryError, ReportError)
    assert type(found) is next(kind for kind in kinds if isinstance(raised, kind))
    assert (found.message, found.field, found.reason) == (raised.message, raised.field, raised.reason)


@pytest.mark.parametrize("status", [404, 502])
def test_an_answer_of_another_server_may_be_tried_again_at_another_address(status: int) -> None:
    found = error_of(httpx.Response(status, content=b"<html>"), "no answer")
    assert isinstance(found, RetryError)
    assert found.hint == "Check the URL"
