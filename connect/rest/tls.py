"""TLS for listeners, and to those of other workers, by Kafka Connect's `ssl.*` settings; key and trust stores
are PEM or PKCS#12."""

import secrets
import ssl
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    pkcs12,
)
from pydantic import SecretStr

from connect.api import Config, ConfigError, FieldError, setting

_CLIENT_AUTH: Final = {
    "none": ssl.CERT_NONE,
    "requested": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_PROTOCOLS: Final = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
_PEM: Final = b"-----BEGIN"
_JKS: Final = b"\xfe\xed\xfe\xed"


def _known_protocols(value: Iterable[str]) -> str | None:
    wrong = [name for name in value if name not in _PROTOCOLS]
    return f"Only {' and '.join(_PROTOCOLS)} are there, not {', '.join(wrong)}" if wrong else None


class TlsSettings(Config):
    keystore: str | None = setting("ssl.keystore.location", default=None)
    keystore_password: SecretStr | None = setting("ssl.keystore.password", default=None)
    key: SecretStr | None = setting("ssl.keystore.key", default=None)
    chain: SecretStr | None = setting("ssl.keystore.certificate.chain", default=None)
    key_password: SecretStr | None = setting("ssl.key.password", default=None)
    truststore: str | None = setting("ssl.truststore.location", default=None)
    truststore_password: SecretStr | None = setting("ssl.truststore.password", default=None)
    trusted: SecretStr | None = setting("ssl.truststore.certificates", default=None)
    client_auth: str = setting("ssl.client.auth", default="none", choices=tuple(_CLIENT_AUTH))
    protocols: list[str] = setting("ssl.enabled.protocols", default=list(_PROTOCOLS), check=_known_protocols)
    ciphers: list[str] = setting("ssl.cipher.suites", default=[])
    identification: str = setting("ssl.endpoint.identification.algorithm", default="https")

    def check(self) -> Iterable[FieldError]:
        if self.keystore is None and (self.key is None or self.chain is None):
            yield FieldError(
                "ssl.keystore.location",
                "https needs a certificate: set ssl.keystore.location (PEM or PKCS#12), or ssl.keystore.key "
                "and ssl.keystore.certificate.chain (PEM)",
            )
        if self.client_auth != "none" and self.truststore is None and self.trusted is None:
            yield FieldError(
                "ssl.truststore.location",
                f"ssl.client.auth={self.client_auth} needs the authorities of the clients: set "
                "ssl.truststore.location (PEM or PKCS#12) or ssl.truststore.certificates (PEM)",
            )


def server_context(properties: Mapping[str, str], listeners: str) -> ssl.SSLContext:
    """What the https listeners of a setting (`listeners`, `admin.listeners`) show and demand.

    As in Kafka Connect, `<listeners>.https.ssl.*` settings, if there are any, replace all `ssl.*` of the
    worker. Raises `ConfigError`.
    """
    settings = _settings(properties, listeners)
    context = _context(ssl.PROTOCOL_TLS_SERVER, settings)
    context.verify_mode = _CLIENT_AUTH[settings.client_auth]
    return context


def client_context(properties: Mapping[str, str], listeners: str) -> ssl.SSLContext:
    """How this worker asks another one, which is set up as it is itself: with its own certificate, trusting
    the authorities of its trust store, or else those that the machine trusts. Raises `ConfigError`."""
    settings = _settings(properties, listeners)
    context = _context(ssl.PROTOCOL_TLS_CLIENT, settings)
    if settings.truststore is None and settings.trusted is None:
        context.load_default_certs()
    context.check_hostname = settings.identification != ""
    return context


def _settings(properties: Mapping[str, str], listeners: str) -> TlsSettings:
    prefix = f"{listeners}.https."
    own = {name.removeprefix(prefix): value for name, value in properties.items() if name.startswith(prefix)}
    return TlsSettings.parse(own or properties)


def _context(protocol: int, settings: TlsSettings) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    versions = sorted(_PROTOCOLS[name] for name in settings.protocols or _PROTOCOLS)
    context.minimum_version, context.maximum_version = versions[0], versions[-1]
    if settings.ciphers:
        unknown = "none of them is known: write OpenSSL's names"
        _checked("ssl.cipher.suites", unknown, lambda: context.set_ciphers(":".join(settings.ciphers)))
    _load_certificate(context, settings)
    _load_trusted(context, settings)
    return context


def _checked(name: str, wrong: str, act: Callable[[], None]) -> None:
    try:
        act()
    except ssl.SSLError:  # in OpenSSL's words, which help nobody
        raise ConfigError(f"{name}: {wrong}") from None


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings) -> None:
    password = _text(settings.key_password)
    if settings.keystore is None:
        _load_pem(context, f"{_text(settings.key)}\n{_text(settings.chain)}\n".encode(), password)
        return
    name = "ssl.keystore.location"
    store = _read(name, settings.keystore)
    if _PEM in store:
        _load_chain(context, name, settings.keystore, password or _text(settings.keystore_password))
        return
    found = _pkcs12(name, settings.keystore, store, settings.keystore_password)
    if found.key is None or found.cert is None:
        raise ConfigError(f"{name}: {settings.keystore} holds no private key with its certificate")
    # Only from a file does Python load a key: that one must be of no use to anybody else.
    once = secrets.token_hex(32)
    key = found.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(once.encode()))
    chain = [found.cert, *found.additional_certs]
    pem = key + b"".join(one.certificate.public_bytes(Encoding.PEM) for one in chain)
    _load_pem(context, pem, once)


def _load_pem(context: ssl.SSLContext, pem: bytes, password: str) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(pem)
        file.flush()
        _load_chain(context, "ssl.keystore.key", file.name, password)


def _load_chain(context: ssl.SSLContext, name: str, path: str, password: str) -> None:
    wrong = "there is no private key with its certificate in it, or the password is wrong"
    # Always an answer: without one OpenSSL would ask the terminal.
    _checked(name, wrong, lambda: context.load_cert_chain(path, password=lambda: password))


def _load_trusted(context: ssl.SSLContext, settings: TlsSettings) -> None:
    if settings.truststore is None and settings.trusted is None:
        return
    name = "ssl.truststore.certificates" if settings.truststore is None else "ssl.truststore.location"
    if settings.truststore is None:
        store = _text(settings.trusted).encode()
    else:
        store = _read(name, settings.truststore)
    if _PEM not in store:
        found = _pkcs12(name, settings.truststore or "", store, settings.truststore_password)
        store = b"".join(one.certificate.public_bytes(Encoding.PEM) for one in found.additional_certs)
    try:
        trusted = x509.load_pem_x509_certificates(store)
    except ValueError:
        raise ConfigError(f"{name}: there is no certificate in it") from None
    pem = b"".join(one.public_bytes(Encoding.PEM) for one in trusted).decode()
    context.load_verify_locations(cadata=pem)


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise ConfigError(f"{name}: {path} cannot be read: {exc.strerror}") from None


def _pkcs12(
    name: str, path: str, store: bytes, password: SecretStr | None
) -> pkcs12.PKCS12KeyAndCertificates:
    if store.startswith(_JKS):
        raise ConfigError(
            f"{name}: {path} is a JKS store, which is not read: convert it with keytool -importkeystore "
            f"-srckeystore {path} -destkeystore {path}.p12 -deststoretype PKCS12"
        )
    try:
        return pkcs12.load_pkcs12(store, _text(password).encode() or None)
    except ValueError:
        raise ConfigError(
            f"{name}: {path} is neither PEM nor a PKCS#12 store, or its password is wrong"
        ) from None


def _text(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value()
