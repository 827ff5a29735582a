"""Finding plugins by name and alias."""

import pytest

from connect.api import ConfigError
from connect.runtime.plugins import PluginEntry, PluginKind, Plugins

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
