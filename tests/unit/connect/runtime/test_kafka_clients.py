"""Client settings from Java names."""

import pytest

from connect.api import ConfigError, Importance, Kind
from connect.runtime.client_definitions import client_definitions
from connect.runtime.client_overrides import client_settings, refused_overrides
from connect.runtime.config import WorkerConfig
from connect.runtime.kafka_clients import aiokafka_settings, librdkafka_settings


@pytest.mark.parametrize(
    ("java", "ours"),
    [
        ({"buffer.memory": "33554432"}, {"queue.buffering.max.kbytes": 32768}),
        ({"fetch.max.wait.ms": "100"}, {"fetch.wait.max.ms": "100"}),
        ({"max.request.size": "5"}, {"message.max.bytes": "5"}),
        ({"delivery.timeout.ms": "9"}, {"message.timeout.ms": "9"}),
        (
            {"acks": "all", "linger.ms": "5", "batch.size": "100"},
            {"acks": "all", "linger.ms": "5", "batch.size": "100"},
        ),
        ({"key.serializer": "x", "metric.reporters": ""}, {}),
        ({"statistics.interval.ms": "1000"}, {"statistics.interval.ms": "1000"}),
        (
            {"sasl.jaas.config": 'org.x.PlainLoginModule required username="u" password="p;\\"q";'},
            {"sasl.username": "u", "sasl.password": 'p;"q'},
        ),
        (
            {"partition.assignment.strategy": "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"},
            {"partition.assignment.strategy": "cooperative-sticky"},
        ),
        ({"ssl.truststore.location": "/ca.pem"}, {"ssl.ca.location": "/ca.pem"}),
    ],
)
def test_names_are_translated(java: dict[str, str], ours: dict[str, object]) -> None:
    assert librdkafka_settings(java).values == ours


def test_the_size_of_a_poll_is_the_runners() -> None:
    assert librdkafka_settings({"max.poll.records": "7"}).max_poll_records == 7


@pytest.mark.parametrize(
    ("java", "message"),
    [
        ({"buffer.memory": "lots"}, "Invalid value lots for configuration buffer.memory"),
        ({"ssl.truststore.type": "JKS"}, "JKS stores cannot be read; use PEM or PKCS12"),
        (
            {"sasl.jaas.config": "nonsense password=hunter2"},
            r"Invalid value \[hidden\] for .*sasl\.jaas\.config",
        ),
        ({"partition.assignment.strategy": "com.example.Mine"}, "must be one of"),
    ],
)
def test_what_cannot_be_translated_is_refused(java: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        librdkafka_settings(java)
    assert "hunter2" not in str(caught.value)


def test_what_librdkafka_does_not_have_is_left_out_and_told() -> None:
    settings = librdkafka_settings({
        "acks": "1", "statistics.interval.ms": "5", "linger": "5", "ssl.client.auth": "required",
        "sasl.login.class": "com.example.Login", "metric.reporters": "",
    })  # fmt: skip
    assert settings.values == {"acks": "1", "statistics.interval.ms": "5"}
    assert settings.warnings == [
        "linger is ignored: neither Kafka nor librdkafka has such a setting",
        "ssl.client.auth is ignored: neither Kafka nor librdkafka has such a setting",
        "sasl.login.class has no effect: librdkafka has no such setting",
    ]


def test_kafkas_definitions_of_its_clients() -> None:
    linger = client_definitions("producer")["linger.ms"]
    assert (linger.kind, linger.default, linger.importance) == (Kind.LONG, "5", Importance.MEDIUM)
    assert client_definitions("consumer")["group.id"].default is None
    assert client_definitions("consumer")["key.deserializer"].required
    assert "linger.ms" not in client_definitions("admin")
    assert client_definitions("admin")["sasl.jaas.config"].kind is Kind.PASSWORD


def test_the_workers_settings_reach_the_clients_and_overrides_win() -> None:
    worker = WorkerConfig.parse({
        "bootstrap.servers": "a:1,b:2", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "producer.linger.ms": "7", "producer.batch.size": "1", "consumer.fetch.min.bytes": "2",
    })  # fmt: skip
    config = {"producer.override.batch.size": "9", "consumer.override.client.rack": "r"}
    assert client_settings(worker, "producer", config).values == {
        "bootstrap.servers": "a:1,b:2", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
        "linger.ms": "7", "batch.size": "9",
    }  # fmt: skip
    assert client_settings(worker, "consumer", config).values["client.rack"] == "r"


@pytest.mark.parametrize(
    ("policy", "refused"),
    [
        ("All", []),
        ("None", ["acks", "sasl.jaas.config"]),
        ("Principal", ["acks"]),
        ("Allowlist", ["sasl.jaas.config"]),
    ],
)
def test_override_policies(policy: str, refused: list[str]) -> None:
    worker = WorkerConfig.parse({
        "connector.client.config.override.policy": policy,
        "connector.client.config.override.allowlist": "acks, linger.ms",
    })  # fmt: skip
    config = {"producer.override.acks": "1", "producer.override.sasl.jaas.config": "x"}
    assert refused_overrides(worker, "producer", config) == refused
    if refused:
        with pytest.raises(ConfigError, match=f"'{policy}' policy does not allow '{refused[0]}'"):
            client_settings(worker, "producer", config)


def test_aiokafka_gets_what_it_needs_to_connect() -> None:
    settings = aiokafka_settings({
        "bootstrap.servers": "a:1,b:2", "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512", "sasl.jaas.config": 'x required username="u" password="p";',
    })  # fmt: skip
    assert settings == {
        "bootstrap_servers": ["a:1", "b:2"], "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "u", "sasl_plain_password": "p",
    }  # fmt: skip
