"""What `validate` says of transforms that only do not fit together."""

from typing import Any

import pytest

from connect.runtime.config import WorkerConfig
from connect.runtime.plugins import PluginKind, Plugins
from connect.runtime.validation import Validator
from connect.version import __version__

CONNECTOR = {"name": "c", "connector.class": "FileStreamSource", "topic": "t", "transforms": "a"}
ROUTER = {
    "transforms.a.type": "RegexRouter",
    "transforms.a.regex": "(.*)",
    "transforms.a.replacement": "x-$1",
}


def errors_of(config: dict[str, str]) -> dict[str, list[str]]:
    plugins = Plugins.discover()
    connector: Any = plugins.get(PluginKind.CONNECTOR, config["connector.class"]).load()
    worker = WorkerConfig.parse({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"})
    validation = Validator(worker, plugins, "c", config).validate(connector, look_outside=False)
    return {value.name: list(value.errors) for value in validation.values if value.errors}


def test_transforms_that_are_right() -> None:
    assert errors_of({**CONNECTOR, **ROUTER}) == {}


CAST = {"transforms.a.type": "Cast$Value", "transforms.a.spec": "id:int33"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transforms.a.replacement": "$2"}, "transforms.a: Invalid value $2 for configuration replacement"),
        ({"transforms.a.predicate": "p"}, "Invalid value p for configuration transforms.a.predicate"),
        ({"transforms.a.negate": "true"}, "there is no config 'transforms.a.predicate'"),
        (CAST, "Invalid type found in casting spec: int33"),
    ],
)
def test_transforms_that_do_not_fit_together(changes: dict[str, str], message: str) -> None:
    [only] = errors_of({**CONNECTOR, **ROUTER, **changes})["transforms"]
    assert message in only


@pytest.mark.parametrize(
    ("name", "plugin"),
    [
        ("connector.plugin.version", "org.apache.kafka.connect.file.FileStreamSourceConnector"),
        ("value.converter.plugin.version", "org.apache.kafka.connect.json.JsonConverter"),
        ("transforms.a.plugin.version", "org.apache.kafka.connect.transforms.RegexRouter"),
    ],
)
def test_versions_of_plugins(name: str, plugin: str) -> None:
    config = {**CONNECTOR, **ROUTER}
    assert errors_of({**config, name: __version__}) == {}
    [only] = errors_of({**config, name: "[77,)"})[name]
    assert only == (
        f"Invalid value [77,) for configuration {name}: Plugin {plugin} not found that matches the version "
        f"range [77,), available versions: [{__version__}]"
    )


def test_a_wrong_setting_is_told_at_its_own_place_only() -> None:
    assert list(errors_of({**CONNECTOR, **ROUTER, "transforms.a.regex": "("})) == ["transforms.a.regex"]
