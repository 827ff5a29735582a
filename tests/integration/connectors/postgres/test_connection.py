"""Ways to reach a server: TLS with and without certificates, IPv6, Unix sockets, settings of the driver."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.capture import Capture
from support.certificates import Identity, identity

from connect.api import ConnectError, RetriableError
from connect.testing.postgres import PostgresServer, system_postgres
from connectors.postgres import refusals
from connectors.postgres.config import PostgresSourceConfig
from connectors.postgres.plugin import PostgresConnector

USER = "certified"
HBA = f"""
local all all scram-sha-256
hostssl all {USER} all cert
hostssl replication {USER} all cert
hostnossl all plain all scram-sha-256
hostssl all postgres all scram-sha-256
hostnossl all postgres all scram-sha-256
"""


@pytest.fixture(scope="module")
def authority() -> Identity:
    return identity("authority")


@pytest.fixture(scope="module")
def server(authority: Identity) -> Iterator[PostgresServer]:
    """It speaks TLS, IPv6 and through a Unix socket; `certified` must show a certificate."""
    programs = system_postgres()
    if programs is None:
        pytest.skip("the wheel's PostgreSQL has no OpenSSL: apt-get install postgresql")
    with PostgresServer({"listen_addresses": "127.0.0.1,::1"}, programs) as server:
        own = identity("127.0.0.1", authority)
        server.write("server.pem", own.certificate_pem)
        server.write("server.key", own.pem())
        server.write("authority.pem", authority.certificate_pem)
        server.write("pg_hba.conf", HBA.encode())
        with server.connect() as connection:
            for name, value in {
                "ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key",
                "ssl_ca_file": "authority.pem",
            }.items():  # fmt: skip
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
            connection.execute(f"CREATE ROLE {USER} SUPERUSER LOGIN".encode())
            connection.execute("CREATE ROLE plain SUPERUSER LOGIN PASSWORD 'p'")
        server.restart()
        yield server


@pytest.fixture
def capture(server: PostgresServer) -> Iterator[Capture]:
    capture = Capture(server)
    capture.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
    yield capture
    capture.close()


@pytest.fixture
def files(authority: Identity, tmp_path: Path) -> dict[str, str]:
    """Settings of a client with a certificate."""
    own = identity(USER, authority)
    for name, content in {
        "ca.pem": authority.certificate_pem, "client.pem": own.certificate_pem, "client.key": own.pem(),
        "locked.key": own.pem("secret"), "other.pem": identity("somebody else").certificate_pem,
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o600)
    return {
        "database.user": USER, "database.sslrootcert": str(tmp_path / "ca.pem"),
        "database.sslcert": str(tmp_path / "client.pem"), "database.sslkey": str(tmp_path / "client.key"),
    }  # fmt: skip


def captures(capture: Capture) -> None:
    """Snapshot and stream work, and `validate` has no complaint."""
    config = PostgresSourceConfig.parse(capture.properties)
    assert [str(each) for each in PostgresConnector().check_connection(config)] == []
    capture.start().drain()
    with psycopg.connect(capture.server.conninfo(capture.name), autocommit=True) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    capture.drain()
    assert [record.key["id"] for record in capture.records] == [1, 2]


def encrypted(capture: Capture) -> set[bool]:
    """Of the connector's connections."""
    with capture.server.connect() as connection:
        rows = connection.execute(
            "SELECT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)"
            " WHERE a.datname = %s AND a.application_name LIKE 'Millstream%%'",
            (capture.name,),
        ).fetchall()
    assert len(rows) == 2
    return {row[0] for row in rows}


@pytest.mark.parametrize(
    ("sslmode", "uses_tls"),
    [("disable", False), ("allow", False), ("prefer", True), ("require", True), ("verify-ca", True),
     ("verify-full", True)],
)  # fmt: skip
def test_every_sslmode(capture: Capture, files: dict[str, str], sslmode: str, uses_tls: bool) -> None:
    capture.change({"database.sslmode": sslmode, "database.sslrootcert": files["database.sslrootcert"]})
    captures(capture)
    assert encrypted(capture) == {uses_tls}


def test_a_client_certificate(capture: Capture, files: dict[str, str]) -> None:
    capture.change({**files, "database.sslmode": "verify-full", "database.password": None})
    captures(capture)


def test_a_client_key_with_a_password(capture: Capture, files: dict[str, str], tmp_path: Path) -> None:
    capture.change({**files, "database.sslmode": "verify-full", "database.password": None})
    capture.change({"database.sslkey": str(tmp_path / "locked.key"), "database.sslpassword": "secret"})
    captures(capture)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"database.sslrootcert": "other.pem", "database.sslmode": "verify-ca"}, "certificate verify failed"),
        ({"database.sslrootcert": "missing.pem", "database.sslmode": "verify-ca"}, "missing.pem"),
        ({"database.hostname": "localhost", "database.sslmode": "verify-full"}, "does not match host name"),
        ({"database.sslkey": "locked.key", "database.sslpassword": "wrong"}, "private key file"),
        ({"database.user": "plain", "database.password": "p"}, "no pg_hba.conf entry"),
        ({"database.sslcert": "none"}, "certificate"),
    ],
)
def test_what_no_retry_mends_fails_at_once(
    capture: Capture, files: dict[str, str], tmp_path: Path, properties: dict[str, str], expected: str
) -> None:
    capture.change({**files, "database.sslmode": "require"})
    capture.change({
        name: str(tmp_path / value) if name.startswith("database.ssl") and "." in value else value
        for name, value in properties.items()
    })  # fmt: skip
    if "database.sslcert" in properties:
        capture.change({"database.sslcert": None, "database.sslkey": None})
    capture.start()
    with pytest.raises(ConnectError, match=expected) as failure:
        capture.poll()
    assert not isinstance(failure.value, RetriableError)


def test_ipv6(capture: Capture) -> None:
    capture.change({"database.hostname": "::1"})
    captures(capture)


def test_a_unix_socket(capture: Capture) -> None:
    with PostgresServer({"unix_socket_directories": str(capture.server.directory)}) as server:
        local = Capture(server)
        local.sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        local.change({"database.hostname": str(capture.server.directory)})
        captures(local)
        local.close()


def test_settings_of_the_driver(capture: Capture) -> None:
    capture.change({
        "driver.ApplicationName": "Millstream of ours", "driver.connectTimeout": "5",
        "driver.targetServerType": "primary", "driver.options": "-c work_mem=77MB",
        "driver.tcpKeepAlive": "true",
    })  # fmt: skip
    check = "DO $$ BEGIN ASSERT current_setting('work_mem') = '77MB';; END $$"
    capture.change({"database.initial.statements": check})
    captures(capture)
    with capture.server.connect() as connection:
        rows = connection.execute(
            "SELECT application_name FROM pg_stat_activity WHERE datname = %s", (capture.name,)
        ).fetchall()
    assert [row[0] for row in rows] == ["Millstream of ours"] * 2


def test_settings_that_only_java_has_are_a_warning(capture: Capture) -> None:
    config = PostgresSourceConfig.parse({**capture.properties, "driver.logServerErrorDetail": "true"})
    assert [warning.message for warning in config.warnings()] == [
        "driver.logServerErrorDetail is a setting of Java's driver and has no effect here"
    ]


def test_a_password_that_stops_being_right(capture: Capture, server: PostgresServer) -> None:
    """It fails the task, which says so in its status; the worker starts it again later."""
    capture.change({"database.user": "rotated", "database.password": "old"})
    capture.sql("CREATE ROLE rotated SUPERUSER LOGIN PASSWORD 'old'")
    server.write("pg_hba.conf", (HBA + "host all rotated all scram-sha-256\n").encode())
    with server.connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
        capture.start().drain()
        connection.execute("ALTER ROLE rotated PASSWORD 'new'")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotated'")
    with pytest.raises(RetriableError):
        until_it_fails(capture)
    with pytest.raises(ConnectError, match="password authentication failed") as failure:
        capture.poll()
    assert not isinstance(failure.value, RetriableError)


def until_it_fails(capture: Capture) -> None:
    while True:
        capture.poll()


@pytest.mark.parametrize(
    "properties",
    [{"database.password": "wrong"}, {"database.dbname": "nowhere"}, {"driver.options": "-c no_such=1"}],
)
def test_what_no_retry_mends_in_another_language(
    capture: Capture, monkeypatch: pytest.MonkeyPatch, properties: dict[str, str]
) -> None:
    """The SQLSTATE tells it where the words are not known."""
    monkeypatch.setattr(refusals, "_WORDS", re.compile("(?!)"))
    capture.change(properties)
    capture.start()
    with pytest.raises(ConnectError) as failure:
        capture.poll()
    assert not isinstance(failure.value, RetriableError)


def test_a_server_that_is_full_is_tried_again(capture: Capture) -> None:
    capture.sql("CREATE ROLE busy LOGIN PASSWORD 'p' REPLICATION CONNECTION LIMIT 0")
    capture.server.write("pg_hba.conf", (HBA + "host all busy all scram-sha-256\n").encode())
    capture.sql("SELECT pg_reload_conf()")
    capture.change({"database.user": "busy", "database.password": "p"})
    capture.start()
    with pytest.raises(RetriableError, match="too many connections"):
        capture.poll()
