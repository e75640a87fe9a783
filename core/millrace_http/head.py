"""Which heads of requests are refused, beyond those that llhttp does not parse.

Sources: RFC 9112 (framing, one Host), RFC 9110 (Expect, Upgrade), RFC 6585 (431).
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Final

import orjson

from millrace_http.limits import Limits

Header = tuple[bytes, bytes]

REASONS: Final = {
    400: "Invalid",
    408: "DeadlineExceeded",
    413: "TooLarge",
    414: "TooLarge",
    417: "Invalid",
    431: "TooLarge",
    501: "NotImplemented",
    503: "Overloaded",
    505: "NotImplemented",
}
_RARE: Final = frozenset({b"transfer-encoding", b"expect"})
# RFC 3986: what names, addresses and ports are written with.
_HOST: Final = (string.ascii_letters + string.digits + "._~%!$&'()*+,;=:[]-").encode()


class Refusal(Exception):  # noqa: N818 it is an answer
    """A request that is answered without its application, and whose connection then ends.

    Args:
        status: of HTTP.
        sentence: what came, and what is expected.
        retry_after: seconds after which it may be sent again; 0 where that does not help.
    """

    def __init__(self, status: int, sentence: str, retry_after: int = 0) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after = retry_after

    def headers(self, body: bytes) -> list[Header]:
        """Those of its answer."""
        found = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if self.retry_after:
            found.append((b"retry-after", b"%d" % self.retry_after))
        return [*found, (b"connection", b"close")]

    def body(self) -> bytes:
        """Its answer, JSON in the form of every error."""
        return orjson.dumps({"error": str(self), "reason": REASONS[self.status]})


def long_target(limits: Limits) -> Refusal:
    """The refusal of a target that is too long."""
    return Refusal(414, f"the request's target is longer than {limits.target_bytes} bytes; send what is long as a body")


def large_head(limits: Limits) -> Refusal:
    """The refusal of headers that are too large."""
    return Refusal(431, f"the request's headers are larger than {limits.head_bytes} bytes; send fewer or shorter ones")


def checked(version: str, target: bytes, headers: Sequence[Header], limits: Limits) -> tuple[int, bool]:
    """The length of the body as it is announced (0 where it is not), and whether the client waits for 100.

    Args:
        headers: with names in lower case, as llhttp has let them through.

    Raises:
        Refusal: it is not served.
    """
    if version not in ("1.1", "1.0") or len(target) > limits.target_bytes or b"%00" in target:
        raise _wrong_line(version, target, limits)
    if len(headers) > limits.headers:
        raise Refusal(431, f"the request has {len(headers)} headers, at most {limits.headers} are taken")
    size = hosts = length = 0
    expects = chunked = False
    for name, value in headers:
        size += len(name) + len(value)
        if name == b"host":
            hosts += 1
            if value.translate(None, _HOST):
                raise Refusal(400, "the header Host is no host with an optional port")
        elif name == b"content-length":
            # llhttp says that it has 64 bits; zeros before it may be many.
            length = int(value.lstrip(b"0") or b"0")
        elif name in _RARE:
            _check_rare(version, name, value)
            expects |= name == b"expect"
            chunked |= name == b"transfer-encoding"
    if size > limits.head_bytes:
        raise large_head(limits)
    if hosts != 1 and (hosts or version == "1.1"):
        raise Refusal(400, f"the header Host came {hosts} times, once is expected")
    return length, expects and version == "1.1" and (length > 0 or chunked)


def _wrong_line(version: str, target: bytes, limits: Limits) -> Refusal:
    if version not in ("1.1", "1.0"):
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
