"""Raw requests with their answers: what every server of ours does with each of them, to the byte.

Sources: RFC 9110, RFC 9112, and the shapes of known request smuggling.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

# The path of a GET that is answered with 200, and of nothing at all.
PROBE: Final = b"PROBE"
NOWHERE: Final = b"/nowhere"
HOST: Final = b"x.default"
# Stands in bodies; nobody is to answer it.
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: smuggled\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """One connection.

    Attributes:
        sent: in one piece; PROBE stands for the server's own path, HOST for its host.
        statuses: of the answers in their order, each one of several.
        stays: whether the connection then answers another request; otherwise it ends, and nothing more comes.
    """

    sent: bytes
    statuses: tuple[Collection[int], ...]
    stays: bool = False


def get(*headers: bytes, target: bytes = PROBE, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    lines = [b"%b %b HTTP/%b" % (method, target, version), b"Host: " + HOST, *headers]
    return b"\r\n".join([*lines, b"", b""])


def post(body: bytes, *headers: bytes, target: bytes = NOWHERE) -> bytes:
    return get(*headers, target=target, method=b"POST") + body


def chunked(body: bytes, *headers: bytes) -> bytes:
    return post(body, b"Transfer-Encoding: chunked", *headers)


def answered(sent: bytes, *statuses: int) -> Case:
    """Answered, and the connection stays."""
    return Case(sent, tuple({status} for status in statuses), stays=True)


def ended(sent: bytes, *statuses: int) -> Case:
    """Answered, and the connection ends."""
    return Case(sent, tuple({status} for status in statuses))


SERVED: Final[Mapping[str, Case]] = {
    "a plain request": answered(get(), 200),
    "header names in any case": answered(b"GET PROBE HTTP/1.1\r\nhOsT: x.default\r\n\r\n", 200),
    "a host with a port": answered(b"GET PROBE HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
    "an empty host": answered(b"GET PROBE HTTP/1.1\r\nHost:\r\n\r\n", 200),
    "line ends before it": answered(b"\r\n\r\n" + get(), 200),
    "a query": answered(get(target=b"PROBE?a=b&c=%20"), 200),
    "an absolute target": answered(get(target=b"http://x.defaultPROBE"), 200),
    "the server itself": Case(get(target=b"*", method=b"OPTIONS"), ({404, 405},), stays=True),
    "no path of this server": answered(get(target=NOWHERE), 404),
    "a head alone, without the body": Case(get(method=b"HEAD"), ({200, 405},), stays=True),
    "a body that nobody reads": answered(get(b"Content-Length: 5") + b"hello", 200),
    "a body with its length": answered(post(b"hello", b"Content-Length: 5"), 404),
    "a length with zeros before it": answered(post(b"hello", b"Content-Length: " + b"0" * 99 + b"5"), 404),
    "a body in chunks": answered(chunked(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), 404),
    "chunks with extensions": answered(chunked(b'2;a=b;c="d"\r\nhe\r\n0;e\r\n\r\n'), 404),
    "chunks with trailers": answered(chunked(b"2\r\nhe\r\n0\r\nHost: evil\r\nX: y\r\n\r\n"), 404),
    "no body, and 100-continue": answered(get(b"Expect: 100-continue"), 200),
    "three at once": answered(get() + get(target=NOWHERE) + get(), 200, 404, 200),
    "bodies between them": answered(post(b"hello", b"Content-Length: 5") * 2 + get(), 404, 404, 200),
    "a body that looks like a request": answered(post(SMUGGLED, b"Content-Length: %d" % len(SMUGGLED)), 404),
    "HTTP/1.0": ended(get(version=b"1.0"), 200),
    "HTTP/1.0 without a host": ended(b"GET PROBE HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 that would stay": ended(get(b"Connection: keep-alive", version=b"1.0"), 200),
    "HTTP/1.0 with 100-continue": ended(get(b"Expect: 100-continue", version=b"1.0"), 200),
    "the last one of its connection": ended(get(b"Connection: close"), 200),
    "another one behind the last": ended(get(b"Connection: close") + get(), 200),
    "no request behind the last": ended(get(b"Connection: close") + b"\x00", 200),
}

_UPGRADE: Final = (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
UPGRADES: Final[Mapping[str, Case]] = {
    "h2c": answered(get(*_UPGRADE, b"Upgrade: h2c"), 200),
    "h2c with a body": answered(post(b"hello", *_UPGRADE, b"Upgrade: h2c", b"Content-Length: 5"), 404),
    "h2c with chunks": answered(chunked(b"2\r\nhe\r\n0\r\n\r\n", *_UPGRADE, b"Upgrade: h2c"), 404),
    "h2c with a body that looks like a request": answered(
        post(SMUGGLED, *_UPGRADE, b"Upgrade: h2c", b"Content-Length: %d" % len(SMUGGLED)), 404
    ),
    "h2c, and another one behind it": answered(get(*_UPGRADE, b"Upgrade: h2c") + get(), 200, 200),
    "h2c, and what is refused behind it": ended(get(*_UPGRADE, b"Upgrade: h2c") + get(version=b"2.0"), 200, 505),
    "h2c by the last one, and another behind it": ended(
        get(b"Connection: close, Upgrade", b"Upgrade: h2c") + get() + get(), 200
    ),
    "h2c three times": answered(get(*_UPGRADE, b"Upgrade: h2c") * 3, 200, 200, 200),
    "h2c by the last one": ended(get(b"Connection: close, Upgrade", b"Upgrade: h2c"), 200),
    "a websocket": answered(
        get(b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAA"),
        200,
    ),
    "what nobody knows": answered(get(b"Connection: upgrade", b"Upgrade: tea/1"), 200),
}

REFUSED: Final[Mapping[str, Case]] = {
    # Hosts.
    "no host": ended(b"GET PROBE HTTP/1.1\r\n\r\n", 400),
    "two hosts": ended(get(b"Host: x.default"), 400),
    "a host with a space": ended(b"GET PROBE HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "a host with a path": ended(b"GET PROBE HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "HTTP/1.0 with two hosts": ended(get(b"Host: x.default", version=b"1.0"), 400),
    # Lengths.
    "a length and chunks": ended(chunked(b"0\r\n\r\n", b"Content-Length: 5"), 400),
    "chunks and a length": ended(post(b"0\r\n\r\n", b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "two lengths": ended(post(b"hello", b"Content-Length: 5", b"Content-Length: 6"), 400),
    "the same length twice": ended(post(b"hello", b"Content-Length: 5", b"Content-Length: 5"), 400),
    "a length with a sign": ended(post(b"hello", b"Content-Length: +5"), 400),
    "a length below zero": ended(post(b"hello", b"Content-Length: -5"), 400),
    "a list of lengths": ended(post(b"hello", b"Content-Length: 5,5"), 400),
    "a length of base 16": ended(post(b"hello", b"Content-Length: 0x5"), 400),
    "no length": ended(post(b"hello", b"Content-Length:"), 400),
    "a length beyond 64 bits": ended(post(b"hello", b"Content-Length: 99999999999999999999"), 400),
    "a body longer than its length": ended(post(b"hello", b"Content-Length: 2"), 404, 400),
    # Codings.
    "another coding": ended(post(b"", b"Transfer-Encoding: gzip"), 501),
    "two codings": ended(post(b"0\r\n\r\n", b"Transfer-Encoding: gzip, chunked"), 501),
    "no coding": ended(post(b"0\r\n\r\n", b"Transfer-Encoding: xchunked"), 501),
    "chunks twice": ended(chunked(b"0\r\n\r\n", b"Transfer-Encoding: chunked"), 400),
    "chunks, and not": ended(chunked(b"0\r\n\r\n", b"Transfer-Encoding: identity"), 400),
    "chunks in HTTP/1.0": ended(get(b"Transfer-Encoding: chunked", version=b"1.0") + b"0\r\n\r\n", 400),
    # Chunks.
    "a chunk without a size": ended(chunked(b"\r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk's size that is none": ended(chunked(b"zz\r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk's size below zero": ended(chunked(b"-2\r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk's size with 0x": ended(chunked(b"0x2\r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk's size with a space": ended(chunked(b"2 \r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk's size beyond 64 bits": ended(chunked(b"fffffffffffffffff\r\nhe\r\n0\r\n\r\n"), 400),
    "a chunk that is longer than its size": ended(chunked(b"2\r\nhello\r\n0\r\n\r\n"), 400),
    "a chunk's line without CR": ended(chunked(b"2\nhe\r\n0\r\n\r\n"), 400),
    "an answered request, and a bad chunk": ended(get() + chunked(b"zz\r\n"), 200, 400),
    # Headers.
    "a folded header": ended(get(b"A: b\r\n c"), 400),
    "a header before its beginning": ended(b"GET PROBE HTTP/1.1\r\n Host: x.default\r\n\r\n", 400),
    "a space before the colon": ended(b"GET PROBE HTTP/1.1\r\nHost : x.default\r\n\r\n", 400),
    "a length with a space before the colon": ended(post(b"hello", b"Content-Length : 5"), 400),
    "a header without a colon": ended(get(b"Accept"), 400),
    "a header without a name": ended(get(b": a"), 400),
    "a zero byte in a header": ended(get(b"A: b\x00c"), 400),
    "a control character in a header": ended(get(b"A: b\x01c"), 400),
    "CR in a header": ended(get(b"A: b\rc"), 400),
    "lines without CR": ended(b"GET PROBE HTTP/1.1\nHost: x.default\n\n", 400),
    "one line without CR": ended(b"GET PROBE HTTP/1.1\r\nHost: x.default\nA: b\r\n\r\n", 400),
    "an expectation that nobody meets": ended(get(b"Expect: tea"), 417),
    "too large a header": ended(get(b"A: " + b"b" * 40_000), 431),
    "too many headers": ended(get(*(b"A%d: b" % n for n in range(120))), 431),
    # The first line.
    "a method in lower case": ended(get(method=b"get"), 400),
    "a method that nobody knows": ended(get(method=b"BREW"), 400),
    "a tunnel": ended(get(target=b"x:80", method=b"CONNECT") + b"hello", 501),
    "a target without its slash": ended(get(target=b"nowhere"), 400),
    "an absolute target without a host": ended(get(target=b"http://*x/nowhere"), 400),
    "an answered request, and no target": ended(get() + get(target=b"http://*x/nowhere"), 200, 400),
    "a target with a space": ended(get(target=b"/no where"), 400),
    "a target beyond ASCII": ended(get(target=b"/\xc3\xa4"), 400),
    "a target with a zero byte": ended(get(target=b"/no%00where"), 400),
    "too long a target": ended(get(target=b"/" + b"a" * 40_000), 414),
    "no version": ended(b"GET PROBE\r\nHost: x.default\r\n\r\n", 505),
    "HTTP/2.0": ended(get(version=b"2.0"), 505),
    "HTTP/1.2": ended(get(version=b"1.2"), 400),
    "HTTP in lower case": ended(b"GET PROBE http/1.1\r\nHost: x.default\r\n\r\n", 400),
    "the preface of HTTP/2": ended(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": ended(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "an answered request, and none": ended(get() + b"\x00\x00", 200, 400),
}

CASES: Final[Mapping[str, Case]] = {
    **SERVED,
    **{f"upgrade: {name}": case for name, case in UPGRADES.items()},
    **REFUSED,
}


@dataclass(frozen=True)
class Server:
    """Where requests of the table are sent.

    Attributes:
        probe: a path of it whose GET is answered with 200.
        host: that it serves.
        tls: how it is trusted; None where it speaks plain HTTP.
        token: that it wants from who asks for other paths.
    """

    address: tuple[str, int]
    probe: bytes = b"/health/live"
    host: bytes = HOST
    tls: ssl.SSLContext | None = None
    token: bytes = b""

    def request(self, sent: bytes) -> bytes:
        """A request of the table as this server is sent it."""
        line = b"Host: %b\r\n" % HOST
        with_token = line + b"Authorization: Bearer %b\r\n" % self.token if self.token else line
        return sent.replace(line, with_token).replace(PROBE, self.probe).replace(HOST, self.host)

    def connect(self) -> socket.socket:
        """A connection to it."""
        connection = socket.create_connection(self.address, timeout=60)
        if self.tls is None:
            return connection
        return self.tls.wrap_socket(connection, server_hostname=self.address[0])


def exchange(server: Server, case: Case) -> list[int]:
    """What the server answers; the statuses of its answers.

    Raises:
        AssertionError: the connection does not stay or end as the case has it.
    """
    with server.connect() as connection:
        reader = connection.makefile("rb")
        connection.sendall(server.request(case.sent))
        heads = case.sent.startswith(b"HEAD")
        found = [answer(reader, heads) for _ in case.statuses]
        if case.stays:
            connection.sendall(server.request(get()))
            assert answer(reader) == 200, "what came next on the connection was no answer to the next request"
        else:
            assert reader.read() == b"", "more came than the answers"
    return found


def answer(reader: Iterator[bytes], head: bool = False) -> int:
    """Reads one answer; its status."""
    file = reader
    line = file.readline()  # type: ignore[attr-defined]
    assert line.startswith(b"HTTP/1.1 "), line
    status = int(line.split()[1])
    headers = {}
    while (line := file.readline().rstrip(b"\r\n")) != b"":  # type: ignore[attr-defined]
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    if head:
        return status
    if headers.get(b"transfer-encoding") == b"chunked":
        while size := int(file.readline(), 16):  # type: ignore[attr-defined]
            file.read(size + 2)  # type: ignore[attr-defined]
        file.readline()  # type: ignore[attr-defined]
    else:
        file.read(int(headers[b"content-length"]))  # type: ignore[attr-defined]
    return status
