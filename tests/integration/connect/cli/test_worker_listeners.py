"""`millstream worker` with TLS, client certificates, basic auth and admin listeners, over real sockets."""

import re
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.certificates import identity
from support.workers import worker_settings

from connect.testing.child import Child
from connect.testing.millstream import Broker

AUTHORITY = identity("authority")


@pytest.fixture(scope="module")
def urls(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """Where a worker listens for users and for administrators, and the directory of a client's files."""
    directory = tmp_path_factory.mktemp("listeners")
    for name in ("server", "client"):
        (directory / f"{name}.pem").write_bytes(identity(name, AUTHORITY).pem())
    (directory / "authority.pem").write_bytes(AUTHORITY.certificate_pem)
    (directory / "users").write_text("alice=secret\n")
    settings = worker_settings(broker.bootstrap) | {
        "listeners": "https://127.0.0.1:0",
        "listeners.https.ssl.keystore.location": str(directory / "server.pem"),
        "listeners.https.ssl.truststore.location": str(directory / "authority.pem"),
        "listeners.https.ssl.client.auth": "required",
        "admin.listeners": "http://127.0.0.1:0",
        "millstream.rest.basic.auth.file": str(directory / "users"),
    }
    properties, told, log = directory / "worker.properties", directory / "port", directory / "log"
    properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    command = [sys.executable, "-m", "connect.cli.main", "worker", "--port-file", str(told), str(properties)]
    child = Child(command, log)
    try:
        child.wait_until(told.exists, 60, "worker")
        admin = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert admin is not None
        yield f"https://127.0.0.1:{told.read_text().strip()}", admin[0], directory
    finally:
        child.stop()


def client(url: str, directory: Path, *, certificate: bool = True, auth: bool = True) -> httpx.Client:
    context = ssl.create_default_context(cafile=directory / "authority.pem")
    if certificate:
        context.load_cert_chain(directory / "client.pem")
    return httpx.Client(base_url=url, verify=context, auth=("alice", "secret") if auth else None, timeout=30)


def test_rest_over_mutual_tls_and_admin_beside_it(urls: tuple[str, str, Path]) -> None:
    rest, admin, directory = urls
    with client(rest, directory) as user:
        assert user.get("/connectors").json() == []
        assert user.get("/admin/loggers").status_code == 404
        config = {"connector.class": "FileStreamSource", "file": str(directory / "none"), "topic": "t"}
        created = user.post("/connectors", json={"name": "c", "config": config})
        assert created.headers["location"] == f"{rest}/connectors/c"
        assert user.get("/connectors/c/status").json()["connector"]["worker_id"] == rest.removeprefix(
            "https://"
        )
        assert user.delete("/connectors/c").status_code == 204
    with client(admin, directory) as administrator:
        assert administrator.get("/admin/loggers/root").json()["level"] == "INFO"
        assert administrator.get("/connectors").status_code == 404


def test_who_stays_out(urls: tuple[str, str, Path]) -> None:
    rest, admin, directory = urls
    with client(rest, directory, certificate=False) as stranger, pytest.raises(httpx.TransportError):
        stranger.get("/")
    for url in (rest, admin):
        with client(url, directory, auth=False) as nobody:
            assert nobody.get("/admin/loggers").status_code == 401


def test_references_in_the_workers_file(broker: Broker, tmp_path: Path) -> None:
    secrets, properties, told = tmp_path / "secrets", tmp_path / "worker.properties", tmp_path / "port"
    secrets.write_text(f"servers={broker.bootstrap}\nflush=sesame99\n")
    names = {**worker_settings(broker.bootstrap), "bootstrap.servers": f"${{file:{secrets}:servers}}",
             "listeners": "http://127.0.0.1:0"}  # fmt: skip
    command = [sys.executable, "-m", "connect.cli.main", "worker", "--port-file", str(told), str(properties)]

    def start(settings: dict[str, str]) -> Child:
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return Child(command, tmp_path / "log")

    child = start(names)
    try:
        child.wait_until(told.exists, 60, "worker")
    finally:
        child.stop()
    for setting, value, why in (
        ("client.id", f"${{file:{secrets}:nobody}}", f"client.id: ${{file:{secrets}:nobody}} has no value"),
        ("offset.flush.interval.ms", f"${{file:{secrets}:flush}}", "Invalid value [hidden]"),
    ):
        child = start({**names, setting: value})
        assert child.process.wait(60) == 2
        assert why in child.tail()
        assert "sesame99" not in child.log.read_text()
