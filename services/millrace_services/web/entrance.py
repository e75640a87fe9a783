"""What a service lets in, by the head of a request alone: known callers, with a token where one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from millrace_core.base.bearer import Bearer
from millrace_core.base.errors import MillraceError
from millrace_services.web import coding, tokens
from millrace_services.web.callers import CallerGuard
from millrace_services.web.errors import Header

_HEALTH: Final = (b"/health/live", b"/health/ready")
PROBES: Final = frozenset((*(prefix + path for prefix in (b"", b"/v2") for path in _HEALTH), b"/health/started"))
# What is answered without a token.
_OPEN: Final = frozenset({*(path.decode() for path in PROBES), "/metrics"})


class Entrance(NamedTuple):
    """Judges requests.

    Attributes:
        callers: tells programs from web pages; None: it is not asked.
        bearer: the tokens of which requests need one; none: nobody is asked for one.
        decodes: whether coded bodies are taken.
    """

    callers: CallerGuard | None
    bearer: Bearer
    decodes: bool

    def refusal(self, headers: Iterable[Header], path: str, *, files: bool = False) -> MillraceError | None:
        """Why a request with these headers is not served at a path; None where it is. ``files``: it takes any type."""
        if self.callers is not None and (stranger := self.callers.refusal(headers, files=files)) is not None:
            return stranger
        asked = self.bearer and path not in _OPEN
        if asked and (unknown := tokens.refusal(self.bearer, headers)) is not None:
            return unknown
        return None if self.decodes else coding.refusal(headers)
