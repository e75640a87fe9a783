"""URLs. Source: ``k8s.io/apiserver/pkg/cel/library/urls.go``."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from millrace_core.schema.cel.overloads import Table, free, member
from millrace_core.schema.cel.syntax import CelError
from millrace_core.schema.formats import string_format


class Url(NamedTuple):
    """An absolute URI or an absolute path."""

    parts: SplitResult


def _is_url(text: str) -> bool:
    check = string_format("uri")
    return check is not None and check(text)


def _url(text: str) -> Url:
    if not _is_url(text):
        raise CelError(f"URL parse error during conversion from string: {text}")
    return Url(urlsplit(text))


def _port(url: Url) -> str:
    return "" if url.parts.port is None else str(url.parts.port)


def _hostname(url: Url) -> str:
    host = url.parts.netloc.rpartition("@")[2]
    return host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0]


def add_to(table: Table) -> None:
    """Adds the functions of URLs."""
    free(table, "url", ("string -> url", _url))
    free(table, "isURL", ("string -> bool", _is_url))
    member(table, "getScheme", ("url -> string", lambda url: url.parts.scheme))
    member(table, "getHost", ("url -> string", lambda url: url.parts.netloc.rpartition("@")[2]))
    member(table, "getHostname", ("url -> string", _hostname))
    member(table, "getPort", ("url -> string", _port))
    member(table, "getEscapedPath", ("url -> string", lambda url: quote(url.parts.path, safe="/%:@!$&'()*+,;=~")))
    member(
        table,
        "getQuery",
        ("url -> map(string, list(string))", lambda url: parse_qs(url.parts.query, keep_blank_values=True)),
    )
