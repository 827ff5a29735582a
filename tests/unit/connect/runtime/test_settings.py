"""Worker settings, connector settings that all have, topic creation, offsets of sinks."""

import asyncio

import pytest

from connect.api import ConfigError
from connect.runtime.addresses import advertised_url
from connect.runtime.client_overrides import refused_overrides
from connect.runtime.config import WorkerConfig
from connect.runtime.connector_config import ConnectorConfig, SinkConnectorConfig, SourceConnectorConfig
from connect.runtime.idle_settings import IdleSettings
from connect.runtime.kafka_clients import aiokafka_settings
from connect.runtime.service import BadRequest, Forbidden
from connect.runtime.sink_offsets import sink_offset_changes
from connect.runtime.task_config import TaskConfig
from connect.runtime.topic_creation import topic_groups
from connect.runtime.worker import Worker

BASE = {"name": "n", "connector.class": "c"}


def errors(config_class: type[ConnectorConfig], **properties: str) -> list[str]:
    named = {name.replace("_", "."): value for name, value in properties.items()}
    return [error.message for error in config_class.examine({**BASE, **named})[1]]


def test_defaults_are_kafka_connects() -> None:
    worker = WorkerConfig.parse({})
    assert worker.bootstrap_servers == ["127.0.0.1:9092"]
    assert (worker.group_id, worker.config_topic, worker.offset_topic, worker.status_topic) == (
        "connect-cluster", "connect-configs", "connect-offsets", "connect-status",
    )  # fmt: skip
    assert (worker.offset_partitions, worker.status_partitions) == (25, 5)
    assert (worker.offset_flush_interval_ms, worker.offset_flush_timeout_ms) == (60_000, 5_000)
    assert worker.task_shutdown_timeout_ms == 5_000
    assert worker.listeners == ["http://127.0.0.1:8083"]
    source = SourceConnectorConfig.parse(BASE)
    assert (source.tasks_max, source.errors_tolerance, source.errors_retry_timeout_ms) == (1, "none", 0)
    assert source.errors_retry_delay_max_ms == 60_000
    sink = SinkConnectorConfig.parse({**BASE, "topics": "a,b"})
    assert sink.topics == ["a", "b"]
    assert sink.errors_deadletterqueue_topic_replication_factor == 3


@pytest.mark.parametrize(
    ("told", "exactly_once", "transactional_leader"),
    [("disabled", False, False), ("PREPARING", False, True), ("enabled", True, True)],
)
def test_exactly_once_is_enabled_in_two_steps(
    told: str, exactly_once: bool, transactional_leader: bool
) -> None:
    worker = WorkerConfig.parse({"exactly.once.source.support": told, "group.id": "g"})
    assert (worker.exactly_once, worker.transactional_leader) == (exactly_once, transactional_leader)
    assert worker.leader_transactional_id == "connect-cluster-g"
    with pytest.raises(ConfigError, match=r"exactly\.once\.source\.support"):
        WorkerConfig.parse({"exactly.once.source.support": "yes"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config.storage.replication.factor", "0"),
        ("offset.storage.partitions", "0"),
        ("status.storage.replication.factor", "-2"),
        ("connector.client.config.override.policy", "com.example.Mine"),
        ("client.dns.lookup", "some"),
        ("rest.advertised.listener", "ftp"),
        ("request.timeout.ms", "soon"),
    ],
)
def test_a_bad_worker_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"Invalid value {value} for configuration {name}"):
        WorkerConfig.parse({name: value})


def test_override_policies_go_by_alias_and_by_class() -> None:
    for name in (
        "Allowlist",
        "AllowlistConnectorClientConfigOverridePolicy",
        "org.apache.kafka.connect.connector.policy.AllowlistConnectorClientConfigOverridePolicy",
    ):
        worker = WorkerConfig.parse({
            "connector.client.config.override.policy": name,
            "connector.client.config.override.allowlist": "acks, linger.ms",
        })  # fmt: skip
        config = {"producer.override.acks": "1", "producer.override.batch.size": "1"}
        assert refused_overrides(worker, "producer", config) == ["batch.size"]


def test_the_workers_own_clients_have_its_top_level_settings() -> None:
    worker = WorkerConfig.parse({
        "group.id": "g", "client.id": "one", "request.timeout.ms": "7000", "metadata.max.age.ms": "9000",
        "admin.request.timeout.ms": "1", "producer.acks": "all",
    })  # fmt: skip
    assert aiokafka_settings(worker.own_client()) == {
        "bootstrap_servers": ["127.0.0.1:9092"], "security_protocol": "PLAINTEXT", "client_id": "g-one",
        "request_timeout_ms": 7000, "metadata_max_age_ms": 9000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "http://127.0.0.1:8083"),
        ({"listeners": "https://a:1,http://b:2"}, "http://b:2"),
        ({"listeners": "https://a:1,http://b:2", "rest.advertised.listener": "HTTPS"}, "https://a:1"),
        ({"listeners": "https://a:1"}, "https://a:1"),
        ({"listeners": "http://[::1]:5"}, "http://[::1]:5"),
        ({"rest.advertised.host.name": "w1", "rest.advertised.port": "80"}, "http://w1:80"),
    ],
)
def test_where_others_reach_the_worker(settings: dict[str, str], url: str) -> None:
    assert advertised_url(WorkerConfig.parse(settings)) == url


def test_a_listener_on_every_interface_is_advertised_by_an_address() -> None:
    for listener in ("http://:8083", "http://0.0.0.0:8083"):
        assert advertised_url(WorkerConfig.parse({"listeners": listener})) != listener.replace(
            "//:", "//0.0.0.0:"
        )


def test_idle_settings_are_checked_as_kafka_does() -> None:
    wrong = {
        "connect.protocol": "other", "inter.worker.key.size": "big", "metrics.num.samples": "0",
        "send.buffer.bytes": "-2",
    }  # fmt: skip
    errors = IdleSettings.examine({**wrong, "plugin.discovery": "Only_Scan"})[1]
    assert [error.name for error in errors] == list(wrong)
    assert not IdleSettings.definitions().keys() & WorkerConfig.definitions().keys()


async def _reset_topics(worker: Worker) -> None:
    await worker.reset_active_topics("c")


def test_topic_tracking_that_is_switched_off_is_forbidden() -> None:
    off, no_reset = (
        Worker({"topic.tracking.enable": "false"}),
        Worker({"topic.tracking.allow.reset": "false"}),
    )
    with pytest.raises(Forbidden, match="Topic tracking is disabled"):
        off.active_topics("c")
    with pytest.raises(Forbidden, match="Topic tracking is disabled"):
        asyncio.run(_reset_topics(off))
    assert no_reset.active_topics("c") == []
    with pytest.raises(Forbidden, match="Topic tracking reset is disabled"):
        asyncio.run(_reset_topics(no_reset))


def test_configs_of_internal_topics() -> None:
    worker = WorkerConfig.parse({
        "config.storage.topic": "t", "config.storage.replication.factor": "1",
        "config.storage.min.insync.replicas": "2",
    })  # fmt: skip
    assert worker.topic_settings("config") == {"min.insync.replicas": "2"}


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({}, "Must configure one of topics or topics.regex"),
        (
            {"topics": "a", "topics.regex": "b"},
            "topics and topics.regex are mutually exclusive options, but both are set.",
        ),
        ({"topics.regex": "("}, "Invalid value ( for configuration topics.regex: Invalid regex"),
        ({"topics": "a", "errors.deadletterqueue.topic.name": "a"}, "The DLQ topic 'a' may not be included"),
        (
            {"topics": "a", "tasks.max": "0"},
            "Invalid value 0 for configuration tasks.max: Value must be at least 1",
        ),
        (
            {"topics": "a", "errors.tolerance": "some"},
            "Invalid value some for configuration errors.tolerance: String must be one of: none, all",
        ),
        ({"topics": "a", "transforms": "x,x"}, "Duplicate alias provided."),
    ],
)
def test_sinks_are_checked(properties: dict[str, str], message: str) -> None:
    assert any(message in error for error in errors(SinkConnectorConfig, **properties))


def test_a_connector_may_override_the_workers_restart_policy() -> None:
    worker = {"millstream.task.restart.backoff.ms": "5", "millstream.task.restart.max.attempts": "2"}
    policy = TaskConfig.of(worker, {"millstream.task.restart.max.attempts": "9"}).restart_policy
    assert (policy.first_ms, policy.attempts_max, policy.longest_ms) == (5, 9, 60_000)


def test_topic_creation_groups_in_their_order() -> None:
    groups = topic_groups({
        "topic.creation.groups": "big,compact",
        "topic.creation.default.partitions": "1", "topic.creation.default.replication.factor": "-1",
        "topic.creation.big.include": "big.*", "topic.creation.big.exclude": "big-not",
        "topic.creation.big.partitions": "9",
        "topic.creation.compact.include": "c.*", "topic.creation.compact.cleanup.policy": "compact",
    })  # fmt: skip
    assert [group.name for group in groups] == ["big", "compact", "default"]
    big, compact, default = groups
    assert (big.partitions, big.replication_factor) == (9, -1)
    assert big.matches("big-1")
    assert not big.matches("big-not")
    assert not big.matches("not-big")
    assert compact.configs == {"cleanup.policy": "compact"}
    assert default.matches("anything")


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"default.partitions": "1"}, '"topic.creation.default.replication.factor" which has no default'),
        (
            {"default.partitions": "0", "default.replication.factor": "1"},
            "Invalid value 0 for .*default.partitions",
        ),
        (
            {"default.partitions": "1", "default.replication.factor": "1", "groups": "g"},
            '"topic.creation.g.include" which has no default',
        ),
    ],
)
def test_incomplete_topic_creation_is_refused(properties: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        topic_groups({f"topic.creation.{name}": value for name, value in properties.items()})


def test_without_defaults_the_broker_creates_topics() -> None:
    assert topic_groups({"topic.creation.groups": "g"}) == []


PLACE = {"kafka_topic": "t", "kafka_partition": 3}


def test_offsets_of_sinks_are_read() -> None:
    changes = sink_offset_changes([(PLACE, {"kafka_offset": 5}), ({**PLACE, "kafka_partition": "4"}, None)])
    assert changes == [("t", 3, 5), ("t", 4, None)]


@pytest.mark.parametrize(
    ("partition", "offset", "message"),
    [
        (None, None, "cannot be null or missing"),
        ({"kafka_partition": 1}, None, "must contain the key 'kafka_topic'"),
        ({"kafka_topic": "t"}, None, "must contain the key 'kafka_partition'"),
        ({"kafka_topic": None, "kafka_partition": 1}, None, "must be valid strings"),
        ({"kafka_topic": "t", "kafka_partition": "x"}, None, "'x'. Partition values .* need to be integers"),
        (PLACE, {"offset": 1}, "should either be null or contain the key 'kafka_offset'"),
        (PLACE, {"kafka_offset": 1.5}, "'1.5'. Offset values for sink connectors need to be integers"),
    ],
)
def test_offsets_of_sinks_are_refused(
    partition: dict[str, object], offset: dict[str, object], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        sink_offset_changes([(partition, offset)])
