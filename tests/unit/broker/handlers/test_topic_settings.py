"""Broker settings, topic configs and what the log obeys say the same thing."""

import pytest

from broker.catalog.topic_config import DEFINITIONS, TopicConfigs
from broker.config import BrokerSettings, load_settings
from broker.handlers.broker_configs import broker_configs, explicit_properties
from broker.handlers.topic_admin import log_config
from broker.log.config import LogConfig, TimestampType


def test_without_any_setting_the_log_has_its_own_defaults() -> None:
    assert log_config(TopicConfigs().values({})) == LogConfig()


def test_a_broker_setting_and_the_topic_config_behind_it_have_one_default() -> None:
    settings = {config.name: config.default for config in broker_configs(BrokerSettings())}
    compared = 0
    for name, definition in DEFINITIONS.items():
        if len(definition.synonyms) == 1 and definition.synonyms[0].name in settings:
            assert settings[definition.synonyms[0].name] == definition.default, name
            compared += 1
    assert compared >= 9


def test_broker_settings_reach_the_log_unless_the_topic_says_otherwise() -> None:
    properties = {
        "log.retention.hours": "2",
        "log.segment.bytes": "2097152",
        "log.message.timestamp.type": "LogAppendTime",
        "log.cleanup.policy": "compact",
    }
    settings, _ = load_settings(properties)
    assert explicit_properties(settings) == properties
    configs = TopicConfigs(explicit_properties(settings))
    config = log_config(configs.values({}))
    assert (config.retention_ms, config.segment_bytes, config.delete) == (7_200_000, 2_097_152, False)
    assert config.timestamp_type is TimestampType.LOG_APPEND_TIME
    own = log_config(configs.values({"retention.ms": "5", "cleanup.policy": "compact,delete"}))
    assert (own.retention_ms, own.segment_bytes, own.delete) == (5, 2_097_152, True)


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [
        ("auto.create.topics.enable", "BOOLEAN", "true"),
        ("num.partitions", "INT", "1"),
        ("group.initial.rebalance.delay.ms", "INT", "0"),
        ("log.retention.check.interval.ms", "LONG", "300000"),
        ("log.retention.ms", "LONG", None),
        ("listeners", "LIST", "PLAINTEXT://127.0.0.1:9092"),
        ("log.message.timestamp.type", "STRING", "CreateTime"),
    ],
)
def test_settings_are_shown_with_type_and_value(name: str, kind: str, value: str | None) -> None:
    configs = {config.name: config for config in broker_configs(BrokerSettings())}
    assert (configs[name].type.name, configs[name].value) == (kind, value)
