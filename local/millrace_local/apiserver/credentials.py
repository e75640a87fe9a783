"""Who may call the API server, and how a caller knows it: a bearer token, and a certificate of its own authority.

Both are made at the first start of a folder and stay with it, since kubeconfigs carry them. It has to be TLS: clients
built on client-go, kubectl and Helm above all, send no token over plain HTTP; and a process of another user that takes
the port while the server is down learns no token.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from millrace_core.base.errors import ReportError
from millrace_local.apiserver.listening import HOST
from millrace_local.atomic_file import write_atomically

FILE = "credentials.json"
_TOKEN_BYTES = 32


@dataclass(frozen=True)
class Credentials:
    """What the server proves itself with and asks for.

    Attributes:
        token: the bearer token of every caller.
        authority: the certificate that clients trust, PEM.
        certificate: the server's certificate, PEM.
        key: its private key, PEM.
    """

    token: str = field(repr=False)
    authority: str
    certificate: str
    key: str = field(repr=False)


def obtain(folder: Path, now: datetime) -> Credentials:
    """The credentials of a server's folder; makes them if it has none.

    Raises:
        ReportError: the file cannot be read or written, or is not one of credentials.
    """
    path = folder / FILE
    try:
        return Credentials(**json.loads(path.read_bytes()))
    except FileNotFoundError:
        made = make(now)
        write_atomically(path, json.dumps(asdict(made)))
        return made
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(
            f"cannot use the credentials {path}: {error}", hint="Remove the file; the next start makes new ones"
        ) from error


def certificate_files(credentials: Credentials, folder: Path) -> tuple[Path, Path]:
    """Writes the server's certificate and key where the TLS library, which reads files only, finds them."""
    certificate, key = folder / "server.crt", folder / "server.key"
    write_atomically(certificate, credentials.certificate)
    write_atomically(key, credentials.key)
    return certificate, key


def make(now: datetime) -> Credentials:
    """New credentials, whose certificate is valid from the day before ``now``."""
    # Imported only here: it takes longer than a start that finds its credentials.
    from millrace_local.apiserver import certificates  # noqa: PLC0415

    issued = certificates.issue(HOST, now)
    return Credentials(secrets.token_urlsafe(_TOKEN_BYTES), issued.authority, issued.certificate, issued.key)
