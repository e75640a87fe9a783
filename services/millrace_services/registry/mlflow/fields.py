"""The fields of a request: query parameters of a GET, the JSON body of everything else, DELETE included.

Unknown fields are ignored; numbers may be texts, as in protobuf's JSON; an empty text that is required is missing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import orjson

from millrace_core.base.shown import shown
from millrace_services.registry.mlflow.errors import invalid, missing
from millrace_services.web.hot import Call

# The most that a JSON number, and so an offset or a version, may be.
_INT64: Final = 2**63 - 1
_DIGITS: Final = re.compile(r"-?[0-9]{1,19}")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?")
_NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_MOST_TAGS: Final = 1000


class Caller(NamedTuple):
    """Who sent a request, as it says itself.

    Attributes:
        user: of basic authentication; empty where none came. Nobody has checked it.
        client: the program.
        idempotency_key: by which a request that is sent again is known; empty: none.
    """

    user: str = ""
    client: str = ""
    idempotency_key: str = ""


class Fields:
    """The fields of one request, read by name; a value of the wrong kind is refused by its name."""

    def __init__(self, values: Mapping[str, Any], caller: Caller = Caller()) -> None:  # noqa: B008 it is immutable
        self._values = values
        self.caller = caller

    def has(self, name: str) -> bool:
        """Whether the field came, be it empty."""
        return name in self._values

    def required(self, name: str) -> str:
        """A text that is not empty."""
        found = self.text(name)
        if not found:
            raise missing(name)
        return found

    def text(self, name: str, default: str = "") -> str:
        """A text; ``default`` where none came."""
        found = self._single(name)
        return default if found is None else _text(name, found)

    def optional(self, name: str) -> str | None:
        """A text, or None where none came."""
        return None if self._single(name) is None else self.text(name)

    def integer(self, name: str, default: int | None = None, *, least: int = 0, most: int = _INT64) -> int:
        """A whole number between ``least`` and ``most``; required where there is no default."""
        found = self._single(name)
        if found is None or found == "":
            if default is None:
                raise missing(name)
            return default
        number = _integer(found)
        if number is None or not least <= number <= most:
            raise invalid(
                f"Invalid value {shown(found, 40)} for parameter '{name}' supplied. "
                f"It must be an integer between {least} and {most}."
            )
        return number

    def flag(self, name: str) -> bool:
        """True or false, false where nothing came."""
        found = self._single(name)
        if isinstance(found, str) and found.lower() in ("true", "false"):
            return found.lower() == "true"
        if found is None or isinstance(found, bool):
            return bool(found)
        raise invalid(f"Invalid value {shown(found, 40)} for parameter '{name}' supplied: true or false is expected.")

    def number(self, name: str) -> float:
        """A required number of 64 bits, be it "NaN", "Infinity" or "-Infinity"."""
        found = self._single(name)
        if found is None or found == "":
            raise missing(name)
        made = number(found)
        if made is None:
            raise invalid(
                f"Invalid value {shown(found, 40)} for parameter '{name}' supplied: a 64-bit floating point number is "
                "expected."
            )
        return made

    def choice(self, name: str, known: Sequence[str], default: str) -> str:
        """One of some words, or its number, from 1 on."""
        found = self._single(name)
        if found is None or found == "":
            return default
        numbered = _integer(found)
        if numbered is not None and 1 <= numbered <= len(known):
            return known[numbered - 1]
        if found not in known:
            allowed = ", ".join(known)
            raise invalid(f"Invalid value {shown(found, 40)} for parameter '{name}' supplied. It is one of {allowed}.")
        return str(found)

    def nested(self, name: str) -> Fields:
        """The fields of a message within this one; none where none came."""
        found = self._single(name)
        if found is not None and not isinstance(found, dict):
            raise _no_message(name, found)
        return Fields(found or {}, self.caller)

    def rows(self, name: str, most: int) -> list[Fields]:
        """A list of messages."""
        found = self._list(name)
        if len(found) > most:
            raise invalid(f"Parameter '{name}' has {len(found)} entries, {most} are the most.")
        for each in found:
            if not isinstance(each, dict):
                raise _no_message(name, each)
        return [Fields(each, self.caller) for each in found]

    def single(self, name: str) -> Any:
        """A value that nobody has looked at; None where none came."""
        return self._single(name)

    def raw(self, name: str) -> list[Any]:
        """A list, whose items nobody has looked at."""
        return self._list(name)

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        return [_text(name, each) for each in self._list(name)]

    def pairs(self, name: str) -> dict[str, str]:
        """A list of ``{"key", "value"}``; of a key that came twice the last counts."""
        found: dict[str, str] = {}
        given = self._list(name)
        if len(given) > _MOST_TAGS:
            raise invalid(f"Parameter '{name}' has {len(given)} entries, {_MOST_TAGS} are the most.")
        for each in given:
            if not isinstance(each, dict):
                raise invalid(
                    f"Invalid value {shown(each, 40)} for parameter '{name}': a key and a value are expected."
                )
            pair = Fields(each)
            found[pair.required("key")] = pair.text("value")
        return found

    def _single(self, name: str) -> Any:
        found = self._values.get(name)
        return found[0] if isinstance(found, Repeated) else found

    def _list(self, name: str) -> list[Any]:
        found = self._values.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise invalid(f"Invalid value {shown(found, 40)} for parameter '{name}' supplied: a list is expected.")
        return found


class Repeated(list[str]):
    """The values of one query parameter, at least one: a list, or a single value, as the field is."""


def of(call: Call, path: Mapping[str, str] | None = None) -> Fields:
    """The fields of a request.

    Args:
        path: those that stand in its path, which count whatever else says so.

    Raises:
        MlflowError: a body of another type than JSON came.
    """
    caller = _caller(call)
    if call.scope["method"] == "GET":
        return Fields({**_query(call.scope["query_string"]), **(path or {})}, caller)
    media_type = (call.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    # Pages of other sites can send other types without asking.
    if media_type != b"application/json" and (call.body or media_type):
        raise invalid(
            f"Bad Request. Content-Type header is {shown(media_type.decode('latin-1'), 80)}, "
            "application/json is expected."
        )
    try:
        document = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        document = {}  # as if nothing had come, so that the first required field is told
    return Fields({**(document if isinstance(document, dict) else {}), **(path or {})}, caller)


def number(value: Any) -> float | None:
    """A number of protobuf's JSON, which has texts for those that JSON has not; None where it is none."""
    if type(value) is float:
        return value
    if type(value) is str:
        if value not in _NO_NUMBERS and not _FLOAT.fullmatch(value):
            return None
        return float(value)
    if type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def integer(value: Any) -> int | None:
    """A whole number of 64 bits, which may be a text; None where it is none."""
    if type(value) is not int:
        value = _integer(value)
    return value if value is not None and -_INT64 - 1 <= value <= _INT64 else None


def _no_message(name: str, found: Any) -> Exception:
    return invalid(f"Invalid value {shown(found, 40)} for parameter '{name}' supplied: an object is expected.")


def _query(text: bytes) -> dict[str, Repeated]:
    try:
        found = parse_qs(text.decode("latin-1"), keep_blank_values=True, max_num_fields=1000)
    except ValueError as error:
        raise invalid(f"The query cannot be read: {error}") from error
    return {name: Repeated(values) for name, values in found.items()}


def _caller(call: Call) -> Caller:
    client, key = ((call.header(name) or b"").decode("latin-1")[:255] for name in (b"user-agent", b"idempotency-key"))
    kind, _, given = (call.header(b"authorization") or b"").partition(b" ")
    user = ""
    if kind.lower() == b"basic":
        try:
            user = base64.b64decode(given, validate=True).decode().partition(":")[0].replace("\x00", "")[:255]
        except (binascii.Error, UnicodeDecodeError):
            user = ""
    return Caller(user, client.replace("\x00", ""), key.replace("\x00", ""))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise invalid(
            f"Invalid value {shown(value, 40)} for parameter '{name}' supplied: "
            f" Hint: Value was of type '{type(value).__name__}'. "
            "See the API docs for more information about request parameters."
        )
    if "\x00" in value:
        raise invalid(f"Invalid value for parameter '{name}' supplied: it has a character of code 0.")
    return value


def _integer(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else None
