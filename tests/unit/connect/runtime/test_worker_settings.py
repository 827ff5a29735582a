"""References in the worker's own settings, and what is said of those without a value."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from connect.api import ConfigError, ConfigProvider
from connect.runtime.takeover import Level
from connect.runtime.takeover_worker import check_worker
from connect.runtime.worker_settings import read_properties, resolved


class Vault(ConfigProvider):
    version = "1"

    def configure(self, properties: Mapping[str, str]) -> None:
        self._answer = properties["answer"]

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(keys, f"{path}/{self._answer}")


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    file = tmp_path / "secrets.properties"
    file.write_text("user=alice\npassword=sesame99\ntimeout=sesame88\n")
    return file


def test_references_are_looked_up_and_what_they_stand_for_is_secret(secrets: Path) -> None:
    jaas = 'PlainLoginModule required username="${file:%s:user}" password="${file:%s:password}";'
    settings = resolved({"group.id": "g", "sasl.jaas.config": jaas % (secrets, secrets)})
    assert settings.values["group.id"] == "g"
    assert 'username="alice" password="sesame99"' in settings.values["sasl.jaas.config"]
    assert settings.secrets == {"alice", "sesame99"}
    assert settings.errors == []


def test_providers_of_ones_own_are_used_and_their_settings_left_alone() -> None:
    written = {
        "config.providers": "vault",
        "config.providers.vault.class": f"{__name__}:Vault",
        "config.providers.vault.param.answer": "${file:not:read}",
        "group.id": "${vault:groups:mine}",
        "plugin.path": "${HOME}/plugins",
    }
    settings = resolved(written)
    assert settings.errors == []
    assert settings.values == {**written, "group.id": "groups/${file:not:read}"}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("${file:%s:nobody}", "has no value on this machine"),
        ("${file:/does/not/exist:x}", "could not read properties from file /does/not/exist"),
        ("a${nowhere:x:y}b", "names config provider nowhere, which config.providers does not name"),
    ],
)
def test_a_reference_without_a_value_names_its_setting(secrets: Path, value: str, why: str) -> None:
    (error,) = resolved({"client.id": value.replace("%s", str(secrets))}).errors
    assert error.name == "client.id"
    assert why in error.message


def test_a_provider_that_cannot_be_made_is_named() -> None:
    (error,) = resolved({"config.providers": "v", "group.id": "${v:a:b}"}).errors
    assert error.name == "config.providers"
    assert "config.providers.v.class is not set" in error.message


def test_takeover_looks_up_and_shows_no_secret(secrets: Path) -> None:
    worker, findings = check_worker({
        "bootstrap.servers": "127.0.0.1:1", "group.id": f"${{file:{secrets}:user}}",
        "offset.flush.interval.ms": f"${{file:{secrets}:timeout}}", "client.id": "${env:MILLSTREAM_NOT_SET}",
    }, ())  # fmt: skip
    assert worker is not None
    assert worker.group_id == "alice"
    errors = {each.where: each.message for each in findings if each.level is Level.ERROR}
    assert errors.keys() == {"offset.flush.interval.ms", "client.id"}
    assert "[hidden]" in errors["offset.flush.interval.ms"]
    assert "sesame88" not in repr(findings)


def test_takeover_is_of_clusters() -> None:
    worker, findings = check_worker({"bootstrap.servers": "h:1", "offset.storage.file.filename": "f"}, ())
    assert worker is not None
    assert not worker.standalone
    assert [each.where for each in findings] == ["offset.storage.file.filename"]


def test_takeover_has_no_cluster_to_look_at_without_its_address() -> None:
    worker, findings = check_worker({"bootstrap.servers": "${env:MILLSTREAM_NOT_SET}"}, ())
    assert worker is None
    assert [each.where for each in findings] == ["bootstrap.servers"]


def test_a_file_that_is_no_properties_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    for name in ("bad", "missing"):
        with pytest.raises(ConfigError, match=f"cannot read .*{name}"):
            read_properties(tmp_path / name)
