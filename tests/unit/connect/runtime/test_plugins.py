"""Finding plugins by name and alias."""

from pathlib import Path

import pytest

from connect.api import ConfigError
from connect.runtime.plugins import PluginEntry, PluginKind, Plugins, plugin_directories
from connect.version import __version__

JSON = PluginEntry(
    "org.apache.kafka.connect.json.JsonConverter",
    PluginKind.CONVERTER,
    "connect.converters.json:JsonConverter",
)


def test_names_and_aliases() -> None:
    plugins = Plugins([
        PluginEntry("io.example.PostgresConnector", PluginKind.CONNECTOR, "m:C"),
        JSON,
        PluginEntry("org.apache.kafka.connect.transforms.Cast$Value", PluginKind.TRANSFORM, "m:V"),
    ])  # fmt: skip
    for name in ("io.example.PostgresConnector", "PostgresConnector", "Postgres"):
        found = plugins.find_connector(name)
        assert found is not None
        assert found.target == "m:C"
    for name in (JSON.class_name, "JsonConverter", "Json"):
        assert plugins.find(PluginKind.CONVERTER, name) == JSON
    assert plugins.get(PluginKind.TRANSFORM, "Cast$Value").target == "m:V"
    assert plugins.find_connector("JsonConverter") is None


def test_an_alias_of_two_is_none() -> None:
    plugins = Plugins(PluginEntry(f"{p}.FooConnector", PluginKind.CONNECTOR, f"m:{p}") for p in ("a", "b"))
    assert plugins.find_connector("Foo") is None
    assert plugins.find_connector("a.FooConnector") is not None


def test_local_code_goes_by_module_and_class() -> None:
    entry = Plugins([]).find_connector("my_package.my_module:MyConnector")
    assert entry is not None
    assert entry.module == "my_package.my_module"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_module:X", "cannot be loaded from no_such_module:X: No module named"),
        ("connect.api:Nothing", "cannot be loaded from connect.api:Nothing"),
        ("connect.api:Schema", "connect.api:Schema is not a Connector"),
        ("connect.api:SinkConnector", "connect.api:SinkConnector has no task_configs, task_class"),
    ],
)
def test_what_cannot_be_loaded_says_why(target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PluginEntry("X", PluginKind.CONNECTOR, target).load()


def test_unknown_names() -> None:
    with pytest.raises(ConfigError, match=r"^Class nope could not be found\.$"):
        Plugins([JSON]).get(PluginKind.CONVERTER, "nope")


def test_reports_call_plugins_by_the_users_names() -> None:
    plugins = Plugins([JSON])
    assert plugins.name_of(JSON.load()()) == JSON.class_name
    assert plugins.name_of(1) == "builtins.int"


def package(directory: Path, name: str, version: str) -> Path:
    """A package with one transform, as `pip install --target` leaves it."""
    info = directory / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[millstream.transforms]\n{name}.Drop = {name}:Drop\n")
    (directory / f"{name}.py").write_text(
        "from connect.transforms.filter import Filter\n\n\nclass Drop(Filter):\n    version = 'undefined'\n"
    )
    return directory


def test_packages_in_the_plugin_path_are_found_in_it_and_one_below(tmp_path: Path) -> None:
    package(tmp_path, "plug_a", "1.0")
    package(tmp_path / "b", "plug_b", "2.0")
    package(tmp_path / "later", "plug_b", "3.0")
    package(tmp_path / "b" / "deeper", "plug_c", "4.0")
    found = plugin_directories([str(tmp_path), str(tmp_path / "nothing")])
    assert found == (
        str(tmp_path), str(tmp_path / "b"), str(tmp_path / "later"), str(tmp_path / "nothing"),
    )  # fmt: skip
    offered = {
        entry.class_name: entry.package.version
        for entry in Plugins.discover(found).all(PluginKind.TRANSFORM)
        if entry.class_name.startswith("plug_") and entry.package is not None
    }
    assert offered == {"plug_a.Drop": "1.0", "plug_b.Drop": "2.0"}


def test_a_class_without_a_version_has_that_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = package(tmp_path / "d", "plug_d", "4.5")
    plugins = Plugins.discover((str(directory),))
    monkeypatch.syspath_prepend(directory)
    entry = plugins.get(PluginKind.TRANSFORM, "plug_d.Drop")
    assert entry.load().version == "4.5"
    ours = PluginEntry("X", PluginKind.TRANSFORM, "connect.transforms.filter:Filter", entry.package)
    assert ours.load().version == __version__


def test_what_is_installed_goes_before_the_plugin_path(tmp_path: Path) -> None:
    info = tmp_path / "other-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 9.9\n")
    (info / "entry_points.txt").write_text(f"[millstream.converters]\n{JSON.class_name} = other:Other\n")
    plugins = Plugins.discover((str(tmp_path),))
    assert plugins.get(PluginKind.CONVERTER, "Json").target == JSON.target
