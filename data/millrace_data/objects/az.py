"""Blobs of Azure Storage, by its REST API over the house's own HTTP.

Arrow's file system for it connects by itself, and takes neither a proxy nor an address, so nothing could hold it to the
door. Source: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import Final
from urllib.parse import quote

import httpx
from pydantic import Field

from millrace_core.base.errors import RejectError
from millrace_core.base.settings import Settings
from millrace_data.objects.door import OPEN, Door
from millrace_data.objects.http import HttpReader, Server
from millrace_data.objects.http_client import HttpClient
from millrace_data.objects.uri import ObjectUri

SECRET: Final = "spec.model.credentialsSecretRef"  # noqa: S105 a field
_VERSION: Final = "2021-12-02"
# Of a request that is signed: encoding, language, length, MD5, type, date and four conditions, all empty in a GET.
_EMPTY: Final = 10


class AzureSettings(Settings):
    """How Azure Storage is reached. Without a key or signature requests are anonymous, as public containers take them;
    the machine's own identity is never asked for."""

    account: str = Field(
        alias="AZURE_STORAGE_ACCOUNT", pattern="^[a-z0-9]{3,24}$", description="Name of the storage account"
    )
    key: str | None = Field(None, alias="AZURE_STORAGE_KEY", description="A key of the account, in Base64")
    sas: str | None = Field(
        None, alias="AZURE_STORAGE_SAS_TOKEN", description="A shared access signature, instead of the account's key"
    )
    endpoint: str | None = Field(
        None,
        alias="AZURE_STORAGE_ENDPOINT",
        pattern=r"^https?://[^/@?#\s]+(/[^@?#\s]*)?$",
        description="Another server than https://<account>.blob.core.windows.net",
    )


def reader(
    uri: ObjectUri, environ: Mapping[str, str], door: Door = OPEN, now: Callable[[], float] = time.time
) -> HttpReader:
    """The reader of ``az://container/blob``.

    Raises:
        RejectError: there is no account, or its key is none.
    """
    settings = _settings(environ)
    key = _key(settings.key) if settings.key else b""

    def authorize(url: httpx.URL, headers: Mapping[str, str]) -> Mapping[str, str]:
        own = {"x-ms-date": formatdate(now(), usegmt=True), "x-ms-version": _VERSION}
        if not key:
            return own
        text = text_to_sign(settings.account, url, {**headers, **own})
        signature = base64.b64encode(hmac.digest(key, text.encode(), hashlib.sha256)).decode()
        return {**own, "authorization": f"SharedKey {settings.account}:{signature}"}

    base = (settings.endpoint or f"https://{settings.account}.blob.core.windows.net").rstrip("/")
    signature = f"?{settings.sas.lstrip('?')}" if settings.sas and not key else ""
    hint = "Check AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN in the Secret"
    server = Server(f"{base}/{uri.host}/{quote(uri.key)}{signature}", authorize, hint)
    return HttpReader(uri, client=HttpClient(door, uri.field), server=server)


def text_to_sign(account: str, url: httpx.URL, headers: Mapping[str, str]) -> str:
    """What a GET without a body and without a query is signed by.

    Args:
        headers: with names in lower case.
    """
    own = sorted((name, value) for name, value in headers.items() if name.startswith("x-ms-"))
    path = url.raw_path.decode("ascii").partition("?")[0]
    signed = [f"{name}:{value}" for name, value in own]
    return "\n".join(["GET", *([""] * _EMPTY), headers.get("range", ""), *signed, f"/{account}{path}"])


def _settings(environ: Mapping[str, str]) -> AzureSettings:
    try:
        return AzureSettings.load(environ)
    except RejectError as error:
        raise RejectError(
            f"{error.message}: az:// needs to know the storage account",
            hint="Put AZURE_STORAGE_ACCOUNT into the Secret, with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN",
            field=SECRET,
            reason="AccessDenied",
        ) from error


def _key(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise RejectError(
            "AZURE_STORAGE_KEY is no Base64",
            hint="Copy key1 or key2 of the account's access keys",
            field=SECRET,
            reason="AccessDenied",
        ) from error
