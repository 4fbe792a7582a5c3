"""TLS for a server on this machine: an authority of its own, and short-lived certificates that it renews.

Clients such as kubectl send a token only over TLS.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rayctl.embedded.apiserver.kubeconfig import write_private

__all__ = ["RENEW_EVERY_S", "Authority"]

AUTHORITY_DAYS = 3650
LEAF_DAYS = 7
RENEW_EVERY_S = 86_400.0
_BACKDATED = timedelta(minutes=5)
"""Clocks differ a little."""


class Authority:
    """Makes certificates for the server's addresses. Keys are kept in the data folder with mode 0600.

    Args:
        folder: Where ``ca.crt``, ``ca.key``, ``server.crt`` and ``server.key`` are; the authority is made once.
        names: Host names and addresses that clients use.

    Raises:
        OSError: The folder cannot be used. ValueError: What is in there is damaged.
    """

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder = folder
        self._names = names
        key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
        if key_file.exists() and certificate_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} is not a key of this server; take it away and start again")
            self._key = key
            self._certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        else:
            self._key = ec.generate_private_key(ec.SECP256R1())
            self._certificate = self._make_authority()
            write_private(key_file, _key_text(self._key))
            write_private(certificate_file, self.certificate)

    @property
    def certificate(self) -> str:
        """The authority's certificate, for clients."""
        return self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def _make_authority(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rayctl")])
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def context(self) -> ssl.SSLContext:
        """Return the server's side of TLS, with a fresh certificate."""
        found = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        found.minimum_version = ssl.TLSVersion.TLSv1_2
        self.renew(found)
        return found

    def renew(self, context: ssl.SSLContext) -> None:
        """Give a context a fresh certificate; connections that are open keep theirs."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(timezone.utc)
        alternatives: list[x509.GeneralName] = []
        for name in self._names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rayctl-apiserver")]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=LEAF_DAYS))
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key_file, certificate_file = self._folder / "server.key", self._folder / "server.crt"
        write_private(key_file, _key_text(key))
        write_private(certificate_file, certificate.public_bytes(serialization.Encoding.PEM).decode())
        context.load_cert_chain(os.fspath(certificate_file), os.fspath(key_file))


def _key_text(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
