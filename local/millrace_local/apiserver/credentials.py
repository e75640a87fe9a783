"""Who may call the API server, and how a caller knows it: a bearer token, and a certificate of its own authority.

Both are made at the first start of a folder and stay with it, since kubeconfigs carry them. It has to be TLS: clients
built on client-go, kubectl and Helm above all, send no token over plain HTTP; and a process of another user that takes
the port while the server is down learns no token. The authority's key signs one certificate and is then forgotten.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from millrace_core.base.errors import ReportError
from millrace_local.atomic_file import write_atomically

HOST = "127.0.0.1"
FILE = "credentials.json"
_TOKEN_BYTES = 32
_VALID_FOR = timedelta(days=3650)


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
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = named(f"millrace-local-{secrets.token_hex(4)}")

    def usage(is_authority: bool) -> x509.KeyUsage:
        others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        never = dict.fromkeys((*others, "crl_sign", "encipher_only", "decipher_only"), False)
        return x509.KeyUsage(digital_signature=not is_authority, key_cert_sign=is_authority, **never)

    def signed(subject: x509.Name, public: ec.EllipticCurvePublicKey, *, is_authority: bool) -> x509.Certificate:
        identifier = x509.SubjectKeyIdentifier.from_public_key(public)
        issuing = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + _VALID_FOR)
            .add_extension(x509.BasicConstraints(is_authority, 0 if is_authority else None), critical=True)
            .add_extension(usage(is_authority), critical=True)
            .add_extension(identifier, critical=False)
            .add_extension(issuing, critical=False)
        )
        if not is_authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(HOST))]
            server_only = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            builder = builder.add_extension(server_only, critical=False)
        return builder.sign(authority_key, hashes.SHA256())

    def pem(certificate: x509.Certificate) -> str:
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credentials(
        token=secrets.token_urlsafe(_TOKEN_BYTES),
        authority=pem(signed(issuer, authority_key.public_key(), is_authority=True)),
        certificate=pem(signed(named(HOST), key.public_key(), is_authority=False)),
        key=private.decode(),
    )
