"""Which heads of requests are refused, beyond those that llhttp does not parse.

Sources: RFC 9112 (framing, one Host), RFC 9110 (Expect, Upgrade), RFC 6585 (431).
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from typing import Final

from millrace_http.limits import Limits
from millrace_http.refusal import Header, Refusal

_VERSIONS: Final = frozenset({"1.1", "1.0"})
_PERCENT: Final = ord("%")
# Of 64 bits.
_DIGITS: Final = 20
_FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})
# RFC 3986: what names, addresses and ports are written with.
_HOST: Final = (string.ascii_letters + string.digits + "._~%!$&'()*+,;=:[]-").encode()


def long_target(limits: Limits) -> Refusal:
    """The refusal of a target that is too long."""
    return Refusal(414, f"the request's target is longer than {limits.target_bytes} bytes; send what is long as a body")


def large_head(limits: Limits) -> Refusal:
    """The refusal of headers that are too large."""
    return Refusal(431, f"the request's headers are larger than {limits.head_bytes} bytes; send fewer or shorter ones")


def checked(version: str, target: bytes, headers: Sequence[Header], limits: Limits, *, small: bool) -> tuple[int, bool]:
    """The length of the body as it is announced (0 where it is not), and whether the client waits for 100.

    Args:
        headers: with names in lower case, as llhttp has let them through.
        small: whether target and headers are known to be within ``limits.head_bytes``, and need no sum.

    Raises:
        Refusal: it is not served.
    """
    # Each request comes by here: of the headers most are looked at by one look into a set.
    if version not in _VERSIONS or len(target) > limits.target_bytes or (_PERCENT in target and b"%00" in target):
        raise _wrong_line(version, target, limits)
    if len(headers) > limits.headers:
        raise Refusal(431, f"the request has {len(headers)} headers, at most {limits.headers} are taken")
    if not small and sum(len(name) + len(value) for name, value in headers) > limits.head_bytes:
        raise large_head(limits)
    hosts = length = 0
    expects = chunked = False
    for name, value in headers:
        if name not in _FRAMING:
            continue
        if name == b"host":
            hosts += 1
            if value.translate(None, _HOST):
                raise Refusal(400, "the header Host is no host with an optional port")
        elif name == b"content-length":
            # llhttp says that it has 64 bits; zeros before it may be many.
            length = int(value if len(value) < _DIGITS else value.lstrip(b"0") or b"0")
        else:
            _check_rare(version, name, value)
            expects |= name == b"expect"
            chunked |= name == b"transfer-encoding"
    if hosts != 1 and (hosts or version == "1.1"):
        raise Refusal(400, f"the header Host came {hosts} times, once is expected")
    return length, expects and version == "1.1" and (length > 0 or chunked)


def without_upgrade(method: bytes, target: bytes, version: str, headers: Iterable[Header]) -> bytes:
    """A head as it would be had the client not asked for another protocol, for a parser that starts anew."""
    lines = [b"%b %b HTTP/%b" % (method, target, version.encode())]
    lines += [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def _wrong_line(version: str, target: bytes, limits: Limits) -> Refusal:
    if version not in _VERSIONS:
        return Refusal(505, f"HTTP/{version} came, HTTP/1.1 is expected")
    if len(target) > limits.target_bytes:
        return long_target(limits)
    return Refusal(400, "the request's target has a zero byte, which no name has")


def _check_rare(version: str, name: bytes, value: bytes) -> None:
    if name == b"expect" and value.lower() != b"100-continue":
        raise Refusal(417, "of expectations only 100-continue can be met")
    if name == b"transfer-encoding" and version == "1.0":
        raise Refusal(400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length")
    if name == b"transfer-encoding" and value.lower() != b"chunked":
        raise Refusal(501, "of transfer codings only chunked is served")
