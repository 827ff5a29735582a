"""`producer.override.` and so on in the answers of validate."""

from typing import Any

import pytest

from connect.runtime.config import WorkerConfig
from connect.runtime.plugins import PluginKind, Plugins
from connect.runtime.service import Validation
from connect.runtime.validation import Validator

SOURCE = {"name": "n", "connector.class": "FileStreamSource", "file": "f", "topic": "t"}
SINK = {"name": "n", "connector.class": "FileStreamSink", "file": "f", "topics": "t"}
OVERRIDES = {
    "producer.override.acks": "1", "consumer.override.client.rack": "r", "admin.override.retries": "3",
}  # fmt: skip


def validate(config: dict[str, str], **worker: str) -> Validation:
    settings = {name.replace("_", "."): value for name, value in worker.items()}
    plugins = Plugins.discover()
    plugin: Any = plugins.get(PluginKind.CONNECTOR, config["connector.class"]).load()
    validator = Validator(WorkerConfig.parse(settings), plugins, "n", config)
    return validator.validate(plugin, look_outside=False)


def errors(result: Validation) -> dict[str, list[str]]:
    return {value.name: list(value.errors) for value in result.values if ".override." in value.name}


@pytest.mark.parametrize(
    ("config", "clients"),
    [
        (SOURCE, ["producer"]),
        ({**SOURCE, "topic.creation.default.partitions": "1",
          "topic.creation.default.replication.factor": "1"}, ["producer", "admin"]),
        (SINK, ["consumer"]),
        ({**SINK, "errors.deadletterqueue.topic.name": "d"}, ["producer", "admin", "consumer"]),
    ],
)  # fmt: skip
def test_those_of_the_clients_that_the_tasks_make_are_listed(
    config: dict[str, str], clients: list[str]
) -> None:
    result = validate({**config, **OVERRIDES})
    assert [name.split(".")[0] for name in errors(result)] == clients
    assert result.error_count == 0


def test_kafkas_definition_and_the_value_are_shown() -> None:
    result = validate(
        {**SOURCE, "producer.override.linger.ms": "7", "producer.override.ssl.key.password": "s"}
    )
    rows = {value.name: (d, value) for d, value in zip(result.definitions, result.values, strict=True)}
    definition, value = rows["producer.override.linger.ms"]
    assert definition is not None
    assert (definition.name, definition.default, definition.display_name) == (value.name, "5", "linger.ms")
    assert value.value == "7"
    assert rows["producer.override.ssl.key.password"][1].value == "[hidden]"


def test_the_policys_refusals_are_errors_of_their_settings() -> None:
    result = validate({**SOURCE, **OVERRIDES}, connector_client_config_override_policy="None")
    why = "The 'None' policy does not allow 'acks' to be overridden in the connector configuration."
    assert errors(result) == {"producer.override.acks": [why]}
    assert result.error_count == 1


def test_bad_and_unknown_values() -> None:
    config = {
        "producer.override.linger.ms": "soon",
        "producer.override.nosuch": "1",
        "producer.override.ssl.keystore.type": "JKS",
        "producer.override.statistics.interval.ms": "5",
    }
    result = validate({**SOURCE, **config})
    found = errors(result)
    assert found["producer.override.linger.ms"] == [
        "Invalid value soon for configuration linger.ms: Not a number of type LONG"
    ]
    assert "JKS" in found["producer.override.ssl.keystore.type"][0]
    assert found["producer.override.nosuch"] == found["producer.override.statistics.interval.ms"] == []
    unknown = dict(zip((value.name for value in result.values), result.definitions, strict=True))
    assert unknown["producer.override.nosuch"] is None
    assert list(result.warnings) == [
        '"producer.override.nosuch": nosuch is ignored: neither Kafka nor librdkafka has such a setting'
    ]
