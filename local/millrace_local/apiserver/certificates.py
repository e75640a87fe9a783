"""The server's certificate, and the authority of its own that signs it.

The authority's key signs this one certificate and is then forgotten.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from ipaddress import ip_address
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_FOR = timedelta(days=3650)


class Issued(NamedTuple):
    """All PEM: the authority's certificate, the server's, and the server's private key."""

    authority: str
    certificate: str
    key: str


def issue(host: str, now: datetime) -> Issued:
    """A certificate for a server at an IP address, which is ``localhost`` too; valid from the day before ``now``."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name(f"millrace-local-{secrets.token_hex(4)}")
    authority = _authority(_unsigned(issuer, issuer, authority_key, authority_key, now))
    certificate = _server(_unsigned(issuer, _name(host), authority_key, key, now), host)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(_signed(authority, authority_key), _signed(certificate, authority_key), private.decode())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    issuer: x509.Name,
    subject: x509.Name,
    issuing: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.CertificateBuilder:
    """What both certificates have."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuing.public_key()), critical=False)
    )


def _authority(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(True, 0), critical=True).add_extension(
        _usage(key_cert_sign=True), critical=True
    )


def _server(builder: x509.CertificateBuilder, host: str) -> x509.CertificateBuilder:
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address(host))]
    return (
        builder.add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    never = dict.fromkeys((*others, "crl_sign", "encipher_only", "decipher_only"), False)
    return x509.KeyUsage(digital_signature=digital_signature, key_cert_sign=key_cert_sign, **never)


def _signed(builder: x509.CertificateBuilder, issuing: ec.EllipticCurvePrivateKey) -> str:
    return builder.sign(issuing, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
