"""The arm of a request, for metrics: a header that the mesh sets, and that anybody else may send, too."""

from __future__ import annotations

import re
from typing import Final

from millrace_services.web.errors import Header

# Arms that one server tells apart. An Experiment has few, and each value of a label is kept for good.
MOST: Final = 16
OTHER: Final = "other"
NONE: Final = ""
_NAME: Final = re.compile(rb"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class Arms:
    """Names of arms, of which there are never more than ``MOST``, ``OTHER`` stands for all else.

    Args:
        header: the header's name, in lower case.
    """

    def __init__(self, header: str) -> None:
        self._header = header.encode()
        self._names: dict[bytes, str] = {}

    def of(self, headers: list[Header]) -> str:
        """The arm that a request's headers name; empty: none."""
        wanted = self._header
        for name, value in headers:
            if name == wanted:
                return self._names.get(value) or self._named(value)
        return NONE

    def _named(self, value: bytes) -> str:
        if len(self._names) >= MOST or not _NAME.fullmatch(value):
            return OTHER
        name = self._names[value] = value.decode()
        return name
