"""An authority, and certificates of it, for tests of TLS."""

import datetime
import ipaddress
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Identity:
    """A private key with its certificate for 127.0.0.1; `issuer` is None for an authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    issuer: x509.Certificate | None = None

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def pem(self, password: str | None = None) -> bytes:
        """Key, then certificate."""
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        return key + self.certificate_pem

    def pkcs12(self, password: str) -> bytes:
        """A key store."""
        more = [self.issuer] if self.issuer is not None else None
        return pkcs12.serialize_key_and_certificates(
            b"own", self.key, self.certificate, more, BestAvailableEncryption(password.encode())
        )

    def trust_pkcs12(self, password: str) -> bytes:
        """A trust store that holds the certificate alone."""
        return pkcs12.serialize_key_and_certificates(
            None, None, None, [self.certificate], BestAvailableEncryption(password.encode())
        )


def identity(name: str, issuer: Identity | None = None) -> Identity:
    """A new one, of `issuer` or an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    )
    signed = builder.sign(key if issuer is None else issuer.key, hashes.SHA256())
    return Identity(key, signed, issuer.certificate if issuer else None)
