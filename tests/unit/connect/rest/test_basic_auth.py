"""Basic auth: who gets in, and where the users come from."""

import asyncio
from pathlib import Path

import httpx
import pytest
from support.fake_connect_service import FakeConnectService

from connect.api import ConfigError
from connect.rest.app import create_app
from connect.rest.basic_auth import EXTENSION, credentials
from connect.rest.settings import RestSettings

JAAS = """
KafkaClient { org.example.Other required file="/nowhere"; };
KafkaConnect {
  org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required
  file="FILE";
};
"""


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users.properties"
    file.write_text("alice=secret\nbob=pa:ss w\\u00f6rd\n")
    return file


def status(settings: dict[str, str], path: str, auth: tuple[str, str] | None, **headers: str) -> int:
    app = create_app(FakeConnectService(), RestSettings.parse(settings))

    async def call() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            return await client.get(path, auth=auth, headers=headers)

    response = asyncio.run(call())
    if response.status_code == 401:
        assert response.json() == {"error_code": 401, "message": "User cannot access the resource."}
        assert response.headers["WWW-Authenticate"].startswith("Basic ")
    return response.status_code


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (("alice", "secret"), 200),
        (("bob", "pa:ss w\u00f6rd"), 200),
        (("alice", "wrong"), 401),
        (("alice", ""), 401),
        (("nobody", ""), 401),
        (("bob", "secret"), 401),
        (None, 401),
    ],
)
@pytest.mark.parametrize("path", ["/", "/connectors", "/admin/loggers", "/health"])
def test_who_gets_in(users: Path, path: str, auth: tuple[str, str] | None, expected: int) -> None:
    assert status({"millstream.rest.basic.auth.file": str(users)}, path, auth) == expected


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic YWxpY2U=", "Bearer YWxpY2U6c2VjcmV0"])
def test_what_is_no_basic_auth_stays_out(users: Path, header: str) -> None:
    settings = {"millstream.rest.basic.auth.file": str(users)}
    assert status(settings, "/", None, Authorization=header) == 401


def test_without_settings_anybody_may_call() -> None:
    assert status({}, "/", None) == 200


def test_a_java_workers_jaas_file_is_followed(users: Path, tmp_path: Path) -> None:
    jaas = tmp_path / "jaas.conf"
    jaas.write_text(JAAS.replace("FILE", str(users)))
    settings = RestSettings.parse({"rest.extension.classes": EXTENSION})
    found = credentials(settings, {"KAFKA_OPTS": f"-Xmx1g -Djava.security.auth.login.config={jaas} -Da=b"})
    assert found == {"alice": "secret", "bob": "pa:ss w\u00f6rd"}


@pytest.mark.parametrize(
    ("settings", "opts", "why"),
    [
        ({"rest.extension.classes": "org.example.Other"}, "", "Invalid value org.example.Other .*Only"),
        ({"rest.extension.classes": EXTENSION}, "-Xmx1g", "no users are known: set millstream.rest"),
        (
            {"rest.extension.classes": EXTENSION},
            "-Djava.security.auth.login.config=/no/such",
            "JAAS file /no/such .*cannot be read",
        ),
        (
            {"rest.extension.classes": EXTENSION},
            "-Djava.security.auth.login.config={empty}",
            "has no entry KafkaConnect",
        ),
        ({"millstream.rest.basic.auth.file": "/no/such"}, "", "/no/such cannot be read"),
        ({"millstream.rest.basic.auth.file": "{empty}"}, "", "names no user"),
    ],
)
def test_what_would_leave_rest_open_is_refused(
    tmp_path: Path, settings: dict[str, str], opts: str, why: str
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    parsed = RestSettings.parse({name: value.format(empty=empty) for name, value in settings.items()})
    with pytest.raises(ConfigError, match=why):
        credentials(parsed, {"KAFKA_OPTS": opts.format(empty=empty)})
