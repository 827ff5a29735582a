"""`${provider:path:key}` and .properties files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from connect.api import ConfigError, ConfigProvider
from connect.runtime.config_providers import ConfigResolver
from connect.runtime.plugins import Plugins


def resolver(**worker: str) -> ConfigResolver:
    return ConfigResolver(
        {name.replace("_", "."): value for name, value in worker.items()}, Plugins.discover()
    )


def test_file_env_and_dir_work_out_of_the_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.properties").write_text("user=alice\npassword = p\\u00e4ss\n")
    (tmp_path / "token").write_text("t0k")
    monkeypatch.setenv("MILLSTREAM_TEST_REGION", "eu")
    config = {
        "login": f"${{file:{tmp_path}/s.properties:user}}/${{file:{tmp_path}/s.properties:password}}",
        "region": "${env:MILLSTREAM_TEST_REGION}",
        "token": f"${{dir:{tmp_path}:token}}",
        "plain": "as it is",
        "none": None,
    }
    assert resolver().resolve(config) == {
        "login": "alice/päss", "region": "eu", "token": "t0k", "plain": "as it is", "none": None,
    }  # fmt: skip


def test_what_is_not_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "s.properties").write_text("user=alice\n")
    config = {
        "a": f"${{file:{tmp_path}/s.properties:nobody}}",
        "b": "${unknown:x:y}",
        "c": "${not a reference}",
        "d": "${env:MILLSTREAM_TEST_SURELY_NOT_SET}",
    }
    assert resolver().resolve(config) == config


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"could not read properties from file .*/missing"):
        resolver().resolve({"a": f"${{file:{tmp_path}/missing:key}}"})


def test_allowed_paths(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for directory in (inside, outside):
        directory.mkdir()
        (directory / "s").write_text("k=v\n")
    (inside / "link").symlink_to(outside / "s")
    limited = resolver(**{
        "config.providers": "file,dir",
        "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
        "config.providers.file.param.allowed.paths": str(inside),
        "config.providers.dir.param.allowed.paths": str(inside),
    })  # fmt: skip
    assert limited.resolve({"a": f"${{file:{inside}/s:k}}"}) == {"a": "v"}
    for reference in (
        f"${{file:{outside}/s:k}}", f"${{file:{inside}/../out/s:k}}", f"${{file:{inside}/link:k}}",
        f"${{dir:{outside}:s}}",
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"is not under allowed\.paths"):
            limited.resolve({"a": reference})


def test_a_directory_gives_only_files_in_it(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "secret").write_text("x")
    reference = f"${{dir:{tmp_path}/d:../secret}}"
    assert resolver().resolve({"a": reference}) == {"a": reference}


def test_env_allowlist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_A", "1")
    monkeypatch.setenv("OTHER_A", "2")
    limited = resolver(
        **{"config.providers": "env", "config.providers.env.param.allowlist.pattern": "APP_.*"}
    )
    assert limited.resolve({"a": "${env:APP_A}", "b": "${env:OTHER_A}"}) == {"a": "1", "b": "${env:OTHER_A}"}


def test_a_provider_needs_a_class() -> None:
    with pytest.raises(ConfigError, match=r"config\.providers\.vault\.class is not set"):
        resolver(config_providers="vault")


class Leased(ConfigProvider):
    """A value for each path, which says how many milliseconds it is good for."""

    def configure(self, properties: Mapping[str, str]) -> None:
        pass

    def get(self, path: str, keys: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(keys, f"for {path}")

    def ttl_ms(self, path: str) -> int | None:
        return None if path == "ever" else int(path)


def test_the_shortest_time_to_live_counts() -> None:
    leases = {"config_providers": "lease", "config_providers_lease_class": f"{__name__}:Leased"}
    one = resolver(**leases)
    assert one.resolve({"a": "${lease:ever:k}"}) == {"a": "for ever"}
    assert one.ttl_ms is None
    one.resolve({"a": "${lease:500:k}", "b": "${lease:20:k} ${lease:ever:k}", "c": "${lease:30:k}"})
    assert one.ttl_ms == 20
