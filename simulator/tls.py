"""Certificates for simulated servers: some clients insist on TLS, on loopback too."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class BadCertificate(ValueError):
    """A certificate cannot be used; the message names the file."""


def self_signed(folder: Path, host: str, now: datetime) -> ssl.SSLContext:
    """Make a key and a certificate for `host` and localhost in a folder, and a context that shows them.

    Clients trust `certificate_file(folder)`. It lasts a week.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulator")])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    try:
        names.append(x509.IPAddress(ipaddress.ip_address(host)))
    except ValueError:
        names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # It signs itself, so it is its own authority: clients trust this one file.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file = folder / "key.pem"
    key_file.touch(mode=0o600)
    certificate_file(folder).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return from_files(certificate_file(folder), key_file)


def certificate_file(folder: Path) -> Path:
    return folder / "certificate.pem"


def from_files(certificate: Path, key: Path) -> ssl.SSLContext:
    """Make a context that shows a certificate; raise BadCertificate with the file and what is wrong."""
    for file in (certificate, key):
        if not file.is_file():
            raise BadCertificate(f"{file}: no such file")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        words = getattr(error, "reason", None) or str(error)
        raise BadCertificate(
            f"{certificate}: not a PEM certificate with the key in {key} ({words})"
        ) from error
    return context
