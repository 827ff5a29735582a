"""The TLS settings of listeners: each kind of store, and what is wrong with the others."""

import ssl
from pathlib import Path

import pytest
from support.certificates import Identity, identity

from connect.api import ConfigError
from connect.rest.tls import server_context

AUTHORITY = identity("authority")
SERVER = identity("server", AUTHORITY)
CLIENT = identity("client", AUTHORITY)
STRANGER = identity("stranger", identity("another authority"))


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    files = {
        "plain.pem": SERVER.pem(),
        "locked.pem": SERVER.pem("pw"),
        "server.p12": SERVER.pkcs12("pw"),
        "trust.pem": AUTHORITY.certificate_pem,
        "trust.p12": AUTHORITY.trust_pkcs12("pw"),
        "store.jks": b"\xfe\xed\xfe\xed\x00\x00\x00\x02",
        "text": b"hello",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def client_context(own: Identity | None, directory: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=AUTHORITY.certificate_pem.decode())
    if own is not None:
        file = directory / "client.pem"
        file.write_bytes(own.pem())
        context.load_cert_chain(file)
    return context


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> str | None:
    """The version that both speak; raises `ssl.SSLError`."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(down, up, server_hostname="127.0.0.1")
    other = server.wrap_bio(up, down, server_side=True)
    done: set[ssl.SSLObject] = set()
    while len(done) < 2:
        for side in (one, other):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                continue
    return other.version()


@pytest.mark.parametrize(
    "settings",
    [
        {"ssl.keystore.location": "plain.pem"},
        {"ssl.keystore.location": "locked.pem", "ssl.key.password": "pw"},
        {"ssl.keystore.location": "server.p12", "ssl.keystore.password": "pw"},
        {
            "ssl.keystore.key": SERVER.pem("pw").decode(),
            "ssl.keystore.certificate.chain": SERVER.certificate_pem.decode(),
            "ssl.key.password": "pw",
        },
    ],
)
@pytest.mark.parametrize("prefix", ["", "listeners.https."])
def test_key_stores(stores: Path, settings: dict[str, str], prefix: str) -> None:
    assert shake_hands(
        server_context(paths(settings, stores, prefix), "listeners"), client_context(None, stores)
    )


def paths(settings: dict[str, str], stores: Path, prefix: str = "") -> dict[str, str]:
    """The settings with their files found."""
    return {
        prefix + name: str(stores / value) if name.endswith("location") else value
        for name, value in settings.items()
    }


@pytest.mark.parametrize("trust", ["trust.pem", "trust.p12"])
def test_clients_must_show_a_certificate(stores: Path, trust: str) -> None:
    settings = {
        "ssl.keystore.location": "plain.pem",
        "ssl.truststore.location": trust,
        "ssl.truststore.password": "pw",
        "ssl.client.auth": "required",
    }
    server = server_context(paths(settings, stores), "listeners")
    assert shake_hands(server, client_context(CLIENT, stores))
    for other in (None, STRANGER):
        with pytest.raises(ssl.SSLError):
            shake_hands(server, client_context(other, stores))
    requested = server_context(paths({**settings, "ssl.client.auth": "requested"}, stores), "listeners")
    assert shake_hands(requested, client_context(None, stores))


def test_protocols(stores: Path) -> None:
    settings = {"ssl.keystore.location": "plain.pem", "ssl.enabled.protocols": "TLSv1.2"}
    server = server_context(paths(settings, stores), "listeners")
    assert shake_hands(server, client_context(None, stores)) == "TLSv1.2"


def test_settings_of_the_listeners_replace_all_of_the_workers(stores: Path) -> None:
    settings = paths({"ssl.keystore.location": "plain.pem"}, stores)
    with pytest.raises(ConfigError, match="https needs a certificate"):
        server_context({**settings, "admin.listeners.https.ssl.client.auth": "none"}, "admin.listeners")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "https needs a certificate: set ssl.keystore.location"),
        ({"ssl.keystore.location": "nosuch"}, "nosuch cannot be read: No such file"),
        ({"ssl.keystore.location": "text"}, "neither PEM nor a PKCS#12 store"),
        ({"ssl.keystore.location": "store.jks"}, "is a JKS store.*keytool -importkeystore"),
        ({"ssl.keystore.location": "server.p12", "ssl.keystore.password": "x"}, "or its password is wrong"),
        ({"ssl.keystore.location": "trust.p12", "ssl.keystore.password": "pw"}, "holds no private key"),
        ({"ssl.keystore.location": "locked.pem"}, "or the password is wrong"),
        ({"ssl.keystore.location": "trust.pem"}, "there is no private key"),
        ({"ssl.keystore.location": "plain.pem", "ssl.client.auth": "required"}, "needs the authorities"),
        ({"ssl.keystore.location": "plain.pem", "ssl.client.auth": "maybe"}, "String must be one of: none"),
        ({"ssl.keystore.location": "plain.pem", "ssl.enabled.protocols": "SSLv3"}, "Only TLSv1.2 and"),
        ({"ssl.keystore.location": "plain.pem", "ssl.cipher.suites": "TLS_X"}, "write OpenSSL's names"),
        ({"ssl.keystore.location": "plain.pem", "ssl.truststore.location": "text"}, "neither PEM nor"),
    ],
)
def test_what_is_wrong_is_said(stores: Path, settings: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        server_context(paths(settings, stores), "listeners")
