"""Refuses what web pages may send, on a server that a browser of the same machine can reach. Off on a cluster."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from millrace_core.base.callers import MESH_HEADER, CallerRule, refusal_of_body
from millrace_core.base.errors import MillraceError
from millrace_services.web.errors import ForbiddenError, Header, MediaTypeError
from millrace_services.web.settings import ServerSettings

_LOOKED_AT = frozenset({b"host", b"origin", b"content-type", b"content-length", b"transfer-encoding", MESH_HEADER})


class CallerGuard:
    """Judges requests by their heads.

    Args:
        settings: ``allowed_hosts`` and ``mesh_secret``; the mesh has judged host and origin of what it forwards.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._rule = CallerRule(settings.allowed_hosts)
        self._secret = settings.mesh_secret.encode()

    @classmethod
    def of(cls, settings: ServerSettings) -> CallerGuard | None:
        """The guard of a server; None where every host is allowed."""
        return cls(settings) if settings.allowed_hosts else None

    def refusal(self, headers: Iterable[Header], *, files: bool = False) -> MillraceError | None:
        """Why a request with these headers is not served; None where it is. Of a repeated header the last counts.

        Args:
            files: the body is a file of any type, by a method that no page may use without asking.
        """
        seen = {name: value for name, value in headers if name in _LOOKED_AT}
        by_mesh = self._secret and hmac.compare_digest(seen.get(MESH_HEADER, b""), self._secret)
        if not by_mesh:
            origin = seen.get(b"origin")
            why = self._rule.refusal_of_sender(
                seen.get(b"host", b"").decode("latin-1"), None if origin is None else origin.decode("latin-1")
            )
            if why:
                return ForbiddenError(why)
        if files or (seen.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in seen):
            return None
        why = refusal_of_body(seen.get(b"content-type", b"").decode("latin-1"))
        return MediaTypeError(why, field="Content-Type") if why else None
