"""Large tensors of numbers in JSON, read and written in pieces.

The parser keeps the interpreter to itself, also in a thread of its own: of a body of 10 MiB for half a second, in which
the event loop answers nobody. Between two pieces other threads get their turn. Nothing else differs: whatever is not
plain here is left to those who read and write it whole, and say what is wrong with it.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from math import prod
from typing import Any, Final

import numpy as np
import orjson

from millrace_services.inference.tensors import Array, Shape

# Bytes, and values, from which a tensor is large; and of a piece, which takes some tenths of a millisecond.
LARGE: Final = 256 * 1024
LARGE_VALUES: Final = 32 * 1024
_PIECE: Final = 32 * 1024
_VALUES: Final = 4096
_FIRST: Final = secrets.randbits(62)
# A quote inside of a string has a backslash before it, so the word is the whole of one.
_LIST: Final = re.compile(rb'"data"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
_BLANK: Final = b" \t\r\n"
_BRACKETS: Final = b"[]"
# Blanks in their place, so that no two numbers become one.
_NO_BRACKETS: Final = bytes.maketrans(_BRACKETS, b"  ")
_NUMBERS: Final = b"+-.0123456789Ee" + _BLANK


class NotPlainError(Exception):
    """It is to be read whole."""


class LargeTensors:
    """A request's JSON, and apart from it its large tensors of numbers.

    Attributes:
        rest: the JSON, in which ``"data"`` is a number that nobody knows for the first of them, one more for the next.
    """

    def __init__(self, body: bytes) -> None:
        self._texts: list[bytes] = []
        self._taken = 0
        parts: list[bytes] = []
        copied = at = 0
        while (found := _LIST.search(body, at)) is not None:
            begin, at = found.end(), _end_of_numbers(body, found.end())
            if at - begin >= LARGE:
                parts += [body[copied:begin], b"%d" % (_FIRST + len(self._texts))]
                self._texts.append(body[begin:at])
                copied = at
        self.rest = b"".join([*parts, body[copied:]])

    def __len__(self) -> int:
        return len(self._texts)

    def take(self, number: object) -> bytes | None:
        """The text of a tensor by what stands in its place; None where that is no number of one.

        Raises:
            NotPlainError: it is there twice.
        """
        if type(number) is not int or not 0 <= number - _FIRST < len(self._texts):
            return None
        if number - _FIRST != self._taken:
            raise NotPlainError
        self._taken += 1
        return self._texts[number - _FIRST]

    def check_end(self) -> None:
        """Raises ``NotPlainError`` where one was not taken, as it is no tensor's."""
        if self._taken != len(self._texts):
            raise NotPlainError


def read(text: bytes, shape: Shape, dtype: np.dtype[Any], pack: Callable[[list[Any]], Array]) -> Array:
    """A tensor of numbers, flat or nested.

    Args:
        pack: makes an array of a list of numbers; what it raises is raised.

    Raises:
        NotPlainError: it is not one of this shape.
    """
    _check_nesting(text, shape)
    values = np.empty(prod(shape), dtype)
    done = 0
    try:
        for piece in _pieces(text):
            numbers = orjson.loads(b"[%b]" % piece.translate(_NO_BRACKETS))
            values[done : done + len(numbers)] = pack(numbers)
            done += len(numbers)
    except orjson.JSONDecodeError as error:
        raise NotPlainError from error
    if done != values.size:  # a comma had no number beside it
        raise NotPlainError
    return values.reshape(shape)


def written(values: Array, text: Callable[[Array], bytes]) -> orjson.Fragment:
    """An array of numbers as JSON.

    Args:
        text: the JSON of a piece.
    """
    rows = max(1, _VALUES * len(values) // values.size)
    parts = [text(values[at : at + rows])[1:-1] for at in range(0, len(values), rows)]
    return orjson.Fragment(b"[%b]" % b",".join(parts))


def _end_of_numbers(body: bytes, begin: int) -> int:
    """Where a run of numbers, commas, blanks and brackets ends, without the commas and blanks at its end."""
    at = begin
    while at < len(body):
        piece = body[at : at + _PIECE]
        others = piece.translate(None, _NUMBERS + _BRACKETS + b",")
        if others:
            at += piece.find(others[:1])
            break
        at += len(piece)
    while body[at - 1] in _BLANK + b",":
        at -= 1
    return at


def _pieces(text: bytes) -> Iterator[bytes]:
    at = 0
    while 0 <= at < len(text):
        comma = text.find(b",", at + _PIECE)
        yield text[at : comma if comma >= 0 else None]
        at = comma + 1 if comma >= 0 else -1


def _check_nesting(text: bytes, shape: Shape) -> None:
    """Compares what is left of a text without its numbers."""
    found = b"".join(text[at : at + _PIECE].translate(None, _NUMBERS) for at in range(0, len(text), _PIECE))
    values = found.count(b",") + 1
    if values != prod(shape):
        raise NotPlainError
    nested = b""
    for size in reversed(shape):
        nested = b"[%b]" % b",".join([nested] * size)
    if found not in (nested, b"[%b]" % (b"," * (values - 1))):
        raise NotPlainError
