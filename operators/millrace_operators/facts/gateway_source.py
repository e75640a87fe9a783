"""What the gateway answers for the operator, by one GET."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from millrace_core.base.bearer import OPEN, Bearer
from millrace_core.base.errors import ReportError, RetryError
from millrace_core.base.shown import shown
from millrace_operators.facts.http_answer import answer_of, said_of
from millrace_operators.facts.source import PAUSE, FactSource

Answer = TypeVar("Answer", bound=BaseModel)

_WIDTH: Final = 500


class GatewaySource(FactSource):
    """Asks the gateway.

    Args:
        url: base URL of it; empty: there is none.
        now: the present moment.
        bearer: what is sent to it.
    """

    name = "the gateway"
    pause = PAUSE
    max_age = timedelta(minutes=2)

    def __init__(self, url: str, now: Callable[[], datetime], bearer: Bearer = OPEN) -> None:
        self._url = url.rstrip("/")
        self._now = now
        self._bearer = bearer

    async def _ask(self, *path: str, form: type[Answer], query: Mapping[str, str] | None = None) -> Answer | None:
        """The answer at a path, given by its parts; None where the gateway has none (404).

        Raises:
            ReportError: no gateway is known. RetryError: it does not answer as expected. RejectError: it says too much.
        """
        if not self._url:
            raise ReportError("the operator knows no gateway", hint="Set MILLRACE_GATEWAY_URL")
        url = "/".join([self._url, *map(quote, path)])
        status, body = await answer_of(url, query, headers=self._bearer.headers())
        if status == HTTPStatus.NOT_FOUND:
            return None
        if status != HTTPStatus.OK:
            raise RetryError(f"status {status}: {said_of(body)}")
        try:
            return form.model_validate_json(body)
        except ValidationError as error:
            raise RetryError(f"an answer that is none: {shown(str(error)[:_WIDTH])}") from None
