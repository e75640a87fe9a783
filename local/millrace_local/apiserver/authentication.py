"""Who is let in: callers with the server's token. Health and version are for everybody, as in Kubernetes."""

from __future__ import annotations

import hmac

from millrace_core.base.callers import CallerRule
from millrace_local.apiserver.errors import StatusError, unauthorized
from millrace_local.apiserver.request import Request

# What Kubernetes' role system:public-info-viewer lets those see who have not logged in.
_PUBLIC = ("/healthz", "/livez", "/readyz", "/version")
_HOSTS = ("localhost", "127.0.0.0/8", "::1")


class Authentication:
    """Lets the holders of one bearer token do everything.

    Args:
        token: the token.
    """

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()
        self._rule = CallerRule(_HOSTS)

    def check(self, request: Request) -> None:
        """Checks a request before its body is read.

        Raises:
            StatusError: 401 without the token, 403 from a web page or for another host's name.
        """
        refusal = self._rule.refusal_of_sender(request.headers.get("host", ""), request.headers.get("origin"))
        if refusal:
            raise StatusError(403, "Forbidden", refusal)
        if request.path.startswith(_PUBLIC):  # no resource has a path that begins so
            return
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, self._expected):
            raise unauthorized()
