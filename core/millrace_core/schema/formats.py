"""The string formats that a Kubernetes API server checks; every other format is documentation only.

Sources: ``k8s.io/apiextensions-apiserver/pkg/apiserver/validation/formats.go``,
``k8s.io/kube-openapi/pkg/validation/strfmt`` and the govalidator patterns it uses.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable

from millrace_core.base.timestamps import is_date, is_date_time
from millrace_core.schema.durations import is_duration

_ISBN10_LENGTH, _ISBN13_LENGTH = 10, 13
_HOSTNAME_LENGTH, _LABEL_LENGTH = 255, 63
_LUHN_TWO_DIGITS = 9


def _pattern(pattern: str, flags: int = 0) -> Callable[[str], bool]:
    matches = re.compile(pattern, re.ASCII | flags).fullmatch
    return lambda text: matches(text) is not None


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY = re.compile(r"(?:[^@/\s]*@)?(?:\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]<>\"]*)(?::[0-9]*)?")


def _is_uri(text: str) -> bool:
    """An absolute URI or an absolute path, as Go's ``url.ParseRequestURI`` accepts it."""
    if not text or any(ord(char) < ord(" ") or ord(char) == 0x7F for char in text):  # noqa: PLR2004
        return False
    scheme = _SCHEME.match(text)
    rest = text[scheme.end() :] if scheme else text
    if not scheme and not rest.startswith("/"):
        return False
    if rest.startswith("//") and scheme:
        authority = re.split(r"[/?]", rest[2:], maxsplit=1)[0]
        if not _AUTHORITY.fullmatch(authority):
            return False
    return not (rest.startswith("/") and _BAD_ESCAPE.search(rest.split("?", 1)[0]))


_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010FFFF-]+"
_ADDRESS = rf"(?:{_ATOM}(?:\.{_ATOM})*|\"(?:[^\"\\\r\n]|\\.)+\")@(?:{_ATOM}(?:\.{_ATOM})*|\[[^\]\s]+\])"
_is_address = _pattern(_ADDRESS)
_is_named_address = _pattern(rf"[^<>@,;:]*<\s*{_ADDRESS}\s*>\s*")

_is_domain = _pattern(r"[^\W_](?:-?[^\W_]{0,62})?|(?:[^\W_](?:(?:[^\W_]|-){0,61}[^\W_])?\.)+[^\W\d_]{2,63}")


def _is_hostname(text: str) -> bool:
    fits = len(text) <= _HOSTNAME_LENGTH and all(len(label) <= _LABEL_LENGTH for label in text.split("."))
    return fits and _is_domain(text)


def _is_ip(version: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(text).version == version
        return False

    return check


def _is_cidr(text: str) -> bool:
    address, slash, length = text.partition("/")
    with contextlib.suppress(ValueError):
        return bool(slash) and length.isdecimal() and bool(ipaddress.ip_interface(f"{address}/{length}"))
    return False


def _is_isbn(*lengths: int) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        digits = text.replace("-", "").replace(" ", "")
        if len(digits) not in lengths or not re.fullmatch(r"[0-9]{9}(?:[0-9]{3})?[0-9X]", digits):
            return False
        values = [10 if char == "X" else int(char) for char in digits]
        if len(digits) == _ISBN10_LENGTH:
            return sum((10 - index) * value for index, value in enumerate(values)) % 11 == 0
        return sum(value * (3 if index % 2 else 1) for index, value in enumerate(values)) % 10 == 0

    return check


_CARD = re.compile(
    r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9]{2})[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}"
)


def _is_credit_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]", "", text)
    if not _CARD.fullmatch(digits):
        return False
    doubled = [int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits))]
    return sum(value - _LUHN_TWO_DIGITS if value > _LUHN_TWO_DIGITS else value for value in doubled) % 10 == 0


_UUID = "[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{third}-?{fourth}-?[0-9a-f]{{12}}"
_HEX4 = "[0-9a-f]{4}"
_VARIANT = "[89ab][0-9a-f]{3}"


def _uuid(third: str, fourth: str) -> Callable[[str], bool]:
    return _pattern(_UUID.format(third=third, fourth=fourth), re.IGNORECASE)


_CHANNEL = r"\s*(?:0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5])\s*"

FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _pattern("[0-9a-fA-F]{24}"),
    "uri": _is_uri,
    "email": lambda text: _is_address(text.strip()) or _is_named_address(text),
    "hostname": _is_hostname,
    "ipv4": _is_ip(4),
    "ipv6": _is_ip(6),
    "cidr": _is_cidr,
    "mac": _pattern(
        r"(?:[0-9a-f]{2}([:-]))(?:[0-9a-f]{2}\1){4}(?:(?:[0-9a-f]{2}\1){2}|(?:[0-9a-f]{2}\1){14})?[0-9a-f]{2}"
        r"|[0-9a-f]{4}(?:\.[0-9a-f]{4}){2}(?:\.[0-9a-f]{4}|(?:\.[0-9a-f]{4}){7})?",
        re.IGNORECASE,
    ),
    "uuid": _uuid(_HEX4, _HEX4),
    "uuid3": _uuid("3[0-9a-f]{3}", _HEX4),
    "uuid4": _uuid("4[0-9a-f]{3}", _VARIANT),
    "uuid5": _uuid("5[0-9a-f]{3}", _VARIANT),
    "isbn": _is_isbn(_ISBN10_LENGTH, _ISBN13_LENGTH),
    "isbn10": _is_isbn(_ISBN10_LENGTH),
    "isbn13": _is_isbn(_ISBN13_LENGTH),
    "creditcard": _is_credit_card,
    "ssn": _pattern(r"[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "hexcolor": _pattern("#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(rf"rgb\({_CHANNEL},{_CHANNEL},{_CHANNEL}\)"),
    "byte": _pattern("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"),
    "password": lambda text: True,  # noqa: ARG005
    "date": is_date,
    "duration": is_duration,
    "datetime": is_date_time,
}


def string_format(name: str) -> Callable[[str], bool] | None:
    """The check of a format, with or without hyphens in its name; None for formats that are not checked."""
    return FORMATS.get(name.replace("-", ""))
