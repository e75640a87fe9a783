"""TLS and users for servers of tests; needs a redis-server that was built with TLS, and openssl."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.data.online.topologies import HOST, Guard

# What docs/parts.md asks for, and nothing more.
WRITER = "+@read +@write +@scripting +@connection +info +dbsize +scan"
READER = "+@read +@connection"


def program() -> str:
    """A server with TLS: Valkey's or Redis's from the system, because the one that tests bring has none.

    Skips the test where there is none.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found and "libssl" in subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout:
            break
    else:
        pytest.skip("no redis-server with TLS is installed (apt-get install redis-server)")
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    return found


def certificate(folder: Path, name: str) -> tuple[str, str]:
    """Files of a certificate for 127.0.0.1, which is its own authority, and of its key."""
    cert, key = str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem")
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
    alternative = f"subjectAltName=IP:{HOST}"
    command = [*made.split(), "-keyout", key, "-out", cert, "-addext", alternative]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


def secured(cert: str, key: str, more: str) -> Guard:
    """Nobody enters without a name, and all talk TLS, servers among themselves too.

    Users: ``boss`` of the tests and of replication, ``writer`` and ``reader`` with what docs/parts.md gives them plus
    ``more``, ``guard`` of sentinels; each has his name as the password, with an @ behind it.
    """
    options = f"--tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {cert} --tls-auth-clients no"
    users = [
        "--user boss on >boss@ ~* &* +@all",
        f"--user writer on >writer@ ~default:* {WRITER} {more}",
        f"--user reader on >reader@ ~default:* {READER} {more}",
        "--user default off",
        "--masteruser boss --masterauth boss@",
    ]
    trust = {"ssl": True, "ssl_ca_certs": cert}
    return Guard(
        program=program(),
        options=[*options.split(), *["--tls-replication", "yes", "--tls-cluster", "yes"]],
        data=" ".join(users).split(),
        watched=(
            "sentinel auth-user rows boss\nsentinel auth-pass rows boss@\n"
            "user guard on >guard@ &* +@all\nuser default off\n"
            "sentinel sentinel-user guard\nsentinel sentinel-pass guard@\n"
        ),
        client={**trust, "username": "boss", "password": "boss@"},
        sentinel={**trust, "username": "guard", "password": "guard@"},
        scheme="rediss",
        login="writer:writer%40@",
        query=f"?ssl_ca_certs={cert}",
    )
