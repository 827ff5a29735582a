"""What `validate` says of settings that mean nothing."""

from typing import Any

import pytest

from connect.runtime.config import WorkerConfig
from connect.runtime.plugins import PluginKind, Plugins
from connect.runtime.validation import Validator

SOURCE = {
    "name": "c",
    "connector.class": "FileStreamSource",
    "file": "f",
    "topic": "t",
    "transforms": "hoist",
    "transforms.hoist.type": "HoistField$Value",
    "transforms.hoist.field": "line",
    "transforms.hoist.predicate": "named",
    "predicates": "named",
    "predicates.named.type": "TopicNameMatches",
    "predicates.named.pattern": ".*",
    "key.converter": "JsonConverter",
    "key.converter.schemas.enable": "false",
    "topic.creation.groups": "small",
    "topic.creation.default.partitions": "1",
    "topic.creation.default.replication.factor": "1",
    "topic.creation.small.include": "t",
    "topic.creation.small.cleanup.policy": "compact",
    "millstream.task.hang.timeout.ms": "1000",
    "producer.override.linger.ms": "5",
}


def warnings_of(config: dict[str, str]) -> list[str]:
    plugins = Plugins.discover()
    connector: Any = plugins.get(PluginKind.CONNECTOR, config["connector.class"]).load()
    worker = WorkerConfig.parse({"bootstrap.servers": "127.0.0.1:1", "group.id": "g"})
    validation = Validator(worker, plugins, "c", config).validate(connector, look_outside=False)
    return list(validation.warnings)


def test_what_means_something_is_not_warned_of() -> None:
    assert warnings_of(SOURCE) == []


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("flie", '; did you mean "file"?'),
        ("errors.tolerence", '; did you mean "errors.tolerance"?'),
        ("zzzzzzzz", ""),
        ("transforms.hoist.feild", '; did you mean "transforms.hoist.field"?'),
        ("transforms.hoist.predicat", '; did you mean "transforms.hoist.predicate"?'),
        (
            "transforms.hoyst.field",
            ': "transforms" does not name "hoyst"; did you mean "transforms.hoist.field"?',
        ),
        ("predicates.named.patern", '; did you mean "predicates.named.pattern"?'),
        (
            "predicates.name.pattern",
            ': "predicates" does not name "name"; did you mean "predicates.named.pattern"?',
        ),
        ("key.converter.schema.enable", '; did you mean "key.converter.schemas.enable"?'),
        (
            "topic.creation.smal.retention.ms",
            ': "topic.creation.groups" does not name its group; did you mean '
            '"topic.creation.small.retention.ms"?',
        ),
        (
            "millstream.task.hang.timeout",
            '; did you mean "millstream.task.hang.timeout.ms"?',
        ),
    ],
)
def test_what_means_nothing_is_told_with_the_nearest(name: str, rest: str) -> None:
    assert warnings_of({**SOURCE, name: "1"}) == [f'Unknown configuration "{name}" is ignored{rest}']


def test_settings_of_a_converter_that_the_config_does_not_name() -> None:
    [only] = warnings_of({**SOURCE, "value.converter.schemas.enable": "false"})
    assert "without \"value.converter\" the worker's converter is used with the worker's settings" in only


def test_a_plugin_that_declares_no_settings_may_read_any() -> None:
    binary = {"value.converter": "ByteArrayConverter", "value.converter.any": "1"}
    assert warnings_of({**SOURCE, **binary}) == []


def test_settings_of_a_plugin_that_is_not_there_are_left_alone() -> None:
    assert warnings_of({**SOURCE, "transforms.hoist.type": "Nosuch", "transforms.hoist.any": "1"}) == []
