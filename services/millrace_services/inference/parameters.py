"""What requests ask for by ``parameters``: done, or refused with words, and never left out in silence.

Parameters and their extensions: https://github.com/triton-inference-server/server/tree/main/docs/protocol; the
``content_type`` is MLServer's. A parameter that asks for nothing (0, false, an empty string, null) is let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from millrace_core.base.errors import RejectError
from millrace_core.base.shown import shown

# Codecs of MLServer's under which a tensor is what it is anyway.
_PLAIN_CODECS: Final = frozenset({"np", "str", "pd"})
_MOST_MICROSECONDS: Final = 2**53
_WHY_NOT: Final = {
    "classification": "classes are not ranked here; ask for the scores, and take the highest of them",
    "priority": "all requests are served in their order",
    **dict.fromkeys(("sequence_id", "sequence_start", "sequence_end"), "the model keeps nothing between two requests"),
    **dict.fromkeys(
        ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"),
        "no memory is shared with clients; send the tensor's bytes",
    ),
}


class RequestParameters(NamedTuple):
    """``binary``: outputs that are asked for without a word of their own; ``timeout``: seconds, or None."""

    binary: bool = False
    timeout: float | None = None


NONE: Final = RequestParameters()


def of_request(given: object) -> RequestParameters:
    """Those of the request itself.

    Raises:
        RejectError: one that is not served, or of another type.
    """
    named = _object(given, "parameters")
    binary = _boolean(named, "binary_data_output")
    timeout = named.pop("timeout", None)
    _check_codec(named, "the request")
    if timeout is not None and (type(timeout) is not int or not 0 <= timeout <= _MOST_MICROSECONDS):
        raise _bad("timeout", f"{shown(timeout, 40)} came, microseconds are expected")
    _refuse(named, "the request", "binary_data_output, timeout")
    return RequestParameters(binary, timeout / 1e6 if timeout else None)


def binary_size(given: object, name: str) -> int | None:
    """Bytes of an input that come behind the JSON; None where its data is in the JSON.

    Raises:
        RejectError: as ``of_request`` does.
    """
    named = _object(given, f"input {name!r}: parameters")
    size = named.pop("binary_data_size", None)
    _check_codec(named, f"input {name!r}")
    if size is not None and (type(size) is not int or size < 0):
        raise _bad(f"input {name!r}: binary_data_size", f"{shown(size, 40)} came, a number of bytes is expected")
    _refuse(named, f"input {name!r}", "binary_data_size")
    return size


def is_binary(given: object, name: str, *, default: bool) -> bool:
    """Whether an output is asked for as bytes.

    Raises:
        RejectError: as ``of_request`` does.
    """
    named = _object(given, f"output {name!r}: parameters")
    binary = _boolean(named, "binary_data", default=default)
    _check_codec(named, f"output {name!r}")
    _refuse(named, f"output {name!r}", "binary_data")
    return binary


def _object(given: object, what: str) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _bad(what, f"{shown(given, 40)} came, an object is expected")
    return dict(given)


def _boolean(named: dict[str, Any], key: str, *, default: bool = False) -> bool:
    value = named.pop(key, None)
    if value is None:
        return default
    if type(value) is not bool:
        raise _bad(key, f"{shown(value, 40)} came, true or false is expected")
    return value


def _check_codec(named: dict[str, Any], where: str) -> None:
    codec = named.pop("content_type", None)
    if codec and (not isinstance(codec, str) or codec not in _PLAIN_CODECS):
        raise _bad(f"{where}: content_type", f"{shown(codec, 40)} is not decoded here; send the tensor as it is")


def _refuse(named: Mapping[str, Any], where: str, known: str) -> None:
    for key, value in named.items():
        if value in (None, False, 0, ""):
            continue
        why = _WHY_NOT.get(key, f"it is not known; of {where} these are: {known}")
        raise _bad(f"{where}: {shown(key, 60)}", f"{shown(value, 40)} came, but {why}")


def _bad(what: str, sentence: str) -> RejectError:
    return RejectError(f"{what}: {sentence}", reason="BadParameter")
