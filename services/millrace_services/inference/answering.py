"""What the translators of every protocol do around a prediction: its note, its log, its own timeout, its long steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, ParamSpec, TypeVar

from millrace_core.api import names
from millrace_core.evidence import prediction_id
from millrace_services.inference.note import Note
from millrace_services.inference.prediction import Prediction
from millrace_services.inference.prediction_log import PredictionLog
from millrace_services.inference.tensors import Array, OutputTensor
from millrace_services.web import errors
from millrace_services.web.errors import DeadlineError, Header
from millrace_services.web.hot import JSON, Answer, Call, ClientGoneError, Handler
from millrace_services.web.request_log import DETAILS
from millrace_services.web.service import CLIENT_GONE

# Bytes from which a body is read, and an answer written, in a thread: of less the way there costs more than the wait.
OFF_LOOP: Final = 64 * 1024
_ID: Final = prediction_id.ANSWER_HEADER.encode()
_CACHE: Final = names.CACHE_HEADER.encode()

P = ParamSpec("P")
T = TypeVar("T")


class Noting:
    """Attributes:
    log: of predictions; None: there is none, or it is not open yet.
    """

    def __init__(self) -> None:
        self.log: PredictionLog | None = None

    def noted(self, handler: Callable[[Call, Note], Awaitable[Answer]]) -> Handler:
        """A handler whose answers, errors too, say the prediction's id, and come into the log."""

        async def answer(call: Call) -> Answer:
            given = call.header(b"x-request-id")
            note = Note(None if given is None else given.decode("latin-1"))
            call.scope[DETAILS] = note.details
            status, body = CLIENT_GONE, b""
            headers: Sequence[Header] = ()
            try:
                status, body, headers = await handler(call, note)
            except ClientGoneError:
                raise
            except Exception as error:  # every error has its one form
                status, body, extra = errors.render(error)
                headers = [JSON, *extra]
            finally:
                if self.log is not None:
                    self.log.take(call, note, status, len(body))
            ended = [*headers, (_ID, note.id.encode())]
            if note.cache:
                ended.append((_CACHE, note.cache.encode()))
            return Answer(status, body, ended)

        return answer

    def note_answer(self, note: Note, names: Sequence[str], prediction: Prediction) -> None:
        """Notes what the model answered; its outputs for the log alone."""
        note.timings, note.cache = prediction.timings, prediction.cache
        if self.log is not None:
            note.outputs = {name: output.values for name, output in zip(names, prediction.outputs, strict=True)}


async def within(seconds: float | None, running: Awaitable[T]) -> T:
    """What runs, unless it takes longer; None: as long as it likes.

    Raises:
        DeadlineError: it does.
    """
    if seconds is None:
        return await running
    try:
        async with asyncio.timeout(seconds):
            return await running
    except TimeoutError:
        raise DeadlineError(
            f"the model did not answer within the request's own timeout of {seconds:g} s",
            hint="Ask for a longer one, in microseconds, or for none",
            delay=1,
        ) from None


async def in_turn(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Does what takes time by ``size``, in bytes: in a thread where it may be long.

    Where each microsecond counts the caller looks at ``OFF_LOOP`` itself: of a small request each coroutine that never
    waits is a hundredth.
    """
    if size < OFF_LOOP:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


def size_of(results: Sequence[OutputTensor]) -> int:
    """Bytes of the outputs, where each is an array of numbers."""
    size = 0
    for values, _ in results:  # a loop, as half of the time of a comprehension is its call
        size += values.nbytes
    return size


def rows_of(feeds: dict[str, Array]) -> int:
    """Rows of a request: the first size of its first input."""
    first = next(iter(feeds.values()), None)
    return max(1, first.shape[0]) if first is not None and first.ndim else 1
