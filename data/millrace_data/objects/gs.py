"""Objects of Google Cloud Storage, by its XML API over the house's own HTTP.

Arrow's file system for it connects by itself, and takes neither a proxy nor an address, so nothing could hold it to the
door; it would also ask the machine's metadata service for an identity. Sources: cloud.google.com/storage/docs/xml-api
and https://developers.google.com/identity/protocols/oauth2/service-account (RFC 7523).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson
from pydantic import Field

from millrace_core.base.errors import RejectError, RetryError
from millrace_core.base.settings import HeaderText, Settings
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.http import PASSING, HttpReader, Server
from millrace_data.objects.http_client import HttpClient
from millrace_data.objects.uri import ObjectUri

KEY: Final = "GOOGLE_SERVICE_ACCOUNT_KEY"
SECRET: Final = "spec.model.credentialsSecretRef"  # noqa: S105 a field
_TOKENS: Final = "https://oauth2.googleapis.com/token"
_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_only"
_HOUR: Final = 3600
# Before its end a token is renewed.
_MARGIN: Final = 60
_MOST: Final = 1024 * 1024


class GcsSettings(Settings):
    """How Google Cloud Storage is reached. Without a key or token requests are anonymous, as public buckets take them;
    the machine's own identity is never asked for."""

    key: str | None = Field(None, alias=KEY, description="Key of a service account, as Google's console gives it: JSON")
    token: HeaderText | None = Field(None, alias="GOOGLE_ACCESS_TOKEN", description="An access token, instead of a key")
    endpoint: str = Field(
        "https://storage.googleapis.com",
        alias="GOOGLE_STORAGE_ENDPOINT",
        pattern=r"^https?://[^/@?#\s]+/?$",
        description="Another server than Google's own, as https://host",
    )


def reader(
    uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN, now: Callable[[], float] = time.time
) -> HttpReader:
    """The reader of ``gs://bucket/key``.

    Raises:
        RejectError: the key is none.
    """
    settings = GcsSettings.load(environ)
    client = HttpClient(door, uri.field)
    account = _Account(settings.key, client, now) if settings.key else None

    def authorize(_url: httpx.URL, _headers: Mapping[str, str]) -> Mapping[str, str]:
        token = account.token() if account else settings.token
        return {"authorization": f"Bearer {token}"} if token else {}

    url = f"{settings.endpoint.rstrip('/')}/{uri.host}/{quote(uri.key)}"
    hint = f"Check {KEY} or GOOGLE_ACCESS_TOKEN in the Secret, and that it may read the object (Storage Object Viewer)"
    return HttpReader(uri, client=client, server=Server(url, authorize, hint))


class _Account:
    """A service account, and the token that its key is exchanged for."""

    def __init__(self, text: str, client: HttpClient, now: Callable[[], float]) -> None:
        try:
            key = orjson.loads(text)
            self._email, self._id = str(key["client_email"]), str(key.get("private_key_id", ""))
            self._tokens = httpx.URL(str(key.get("token_uri") or _TOKENS))
            self._key = _private_key(key["private_key"])
        except (ValueError, KeyError, TypeError, AttributeError, httpx.InvalidURL) as error:
            raise RejectError(
                f"{KEY} is no key of a service account",
                hint="Put the whole JSON file into the Secret, with client_email and private_key",
                field=SECRET,
                reason="AccessDenied",
            ) from error
        self._client = client
        self._now = now
        self._token, self._until = "", 0.0

    def token(self) -> str:
        """A token that is valid for a while."""
        now = self._now()
        if now >= self._until:
            self._token, seconds = self._exchange(int(now))
            self._until = now + seconds - _MARGIN
        return self._token

    def _exchange(self, now: int) -> tuple[str, float]:
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion(now)}
        response, body = self._client.read(self._tokens, {"accept-encoding": "identity"}, _MOST, "POST", form)
        if response.status_code in PASSING or response.status_code >= 500:  # noqa: PLR2004
            raise RetryError(f"{self._tokens.host} answers {response.status_code}", field=SECRET, reason="Unreachable")
        try:
            answer = orjson.loads(body)
            return str(answer["access_token"]), float(answer.get("expires_in", _HOUR))
        except (ValueError, KeyError, TypeError) as error:
            raise RejectError(
                f"{self._tokens.host} gives no token for the key of {self._email}: it answers {response.status_code}",
                hint=f"Check that the key in {KEY} is still valid, and the clock of the node",
                field=SECRET,
                reason="AccessDenied",
            ) from error

    def _assertion(self, now: int) -> str:
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 only where there is a key
        from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

        head = {"alg": "RS256", "typ": "JWT", **({"kid": self._id} if self._id else {})}
        claims = {"iss": self._email, "scope": _SCOPE, "aud": str(self._tokens), "iat": now, "exp": now + _HOUR}
        text = b".".join(_base64(orjson.dumps(part)) for part in (head, claims))
        return (text + b"." + _base64(self._key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()


def _private_key(text: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    key = load_pem_private_key(text.encode(), None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("no RSA key")  # noqa: TRY004 it is told with the others
    return key


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
