"""Offsets topics that a connector's own clients read and write (KIP-618): its `offsets.storage.topic`, and
the worker's where offsets are part of a transaction.

Used in task processes and plugin hosts. The worker follows its own topic itself (`stores.OffsetStore`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import confluent_kafka
import orjson
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from connect.api import ConfigError, ConnectError
from connect.runtime.client_overrides import client_settings
from connect.runtime.config import WorkerConfig
from connect.runtime.topic_creation import create_topic

_TIMEOUT_S: Final = 60.0
_REPLICAS: Final = 3
_BATCH: Final = 1_000

Pair = tuple[Mapping[str, Any], Any]  # source partition, source offset
Offsets = dict[str, Pair]  # by the key in the topic


@dataclass(frozen=True, slots=True)
class OffsetTopic:
    """Where a connector's offsets are. `is_workers`: it is the one that its worker follows."""

    name: str
    is_workers: bool


def offset_topic(worker: WorkerConfig, config: Mapping[str, str | None]) -> OffsetTopic:
    """The topic that holds what counts for a source connector."""
    own = config.get("offsets.storage.topic")
    if not own and not worker.exactly_once:
        return OffsetTopic(worker.offset_topic, is_workers=True)
    name = own or worker.offset_topic
    return OffsetTopic(name, name == worker.offset_topic and not is_elsewhere(worker, config))


def is_elsewhere(worker: WorkerConfig, config: Mapping[str, str | None]) -> bool:
    """Whether the connector writes to another Kafka cluster than its worker's, as far as settings tell."""
    servers = client_settings(worker, "producer", config).values["bootstrap.servers"]
    return {server.strip() for server in servers.split(",")} != set(worker.bootstrap_servers)


def prepare(worker: WorkerConfig, topic: OffsetTopic, admin_settings: Mapping[str, Any]) -> None:
    """Create it, compacted, where it is missing; raises `ConfigError` for one that would lose offsets."""
    admin = AdminClient(dict(admin_settings))
    replicas = worker.offset_replication
    if replicas is None:
        replicas = min(_REPLICAS, len(admin.list_topics(timeout=_TIMEOUT_S).brokers))
    configs = {"cleanup.policy": "compact", **worker.topic_settings("offset")}
    create_topic(admin_settings, topic.name, worker.offset_partitions, replicas, configs)
    resource = ConfigResource(ResourceType.TOPIC, topic.name)
    policy = admin.describe_configs([resource])[resource].result(_TIMEOUT_S)["cleanup.policy"].value
    if policy.strip() != "compact":
        raise ConfigError(
            f"Topic '{topic.name}' supplied via the 'offsets.storage.topic' property is required to have "
            "'cleanup.policy=compact' to guarantee consistency and durability of source connector offsets, "
            f"but found the topic currently has 'cleanup.policy={policy}'. Continuing would likely result in "
            "eventually losing source connector offsets."
        )


def read(
    consumer_settings: Mapping[str, Any], admin_settings: Mapping[str, Any], topic: str, connector: str
) -> Offsets:
    """A connector's offsets; empty if there is no such topic. What is in transactions that are open now is
    waited for."""
    consumer = confluent_kafka.Consumer({
        **consumer_settings, "group.id": f"connect-{connector}", "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "isolation.level": "read_committed", "enable.partition.eof": True,
        "allow.auto.create.topics": False, "group.instance.id": "",
    })  # fmt: skip
    try:
        known = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
        if known.error is not None and known.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return {}
        # Not asked of this consumer: to it, a topic ends where the first open transaction begins.
        asked = {
            TopicPartition(topic, number): OffsetSpec.latest()  # type: ignore[no-untyped-call]  # library
            for number in known.partitions
        }
        admin = AdminClient(dict(admin_settings))  # nothing comes of its requests once it is gone
        told = admin.list_offsets(asked, request_timeout=_TIMEOUT_S)
        ends = {place.partition: told[place].result(_TIMEOUT_S).offset for place in asked}
        return _read_to(consumer, topic, ends, connector)
    except KafkaException as exc:
        raise ConnectError(f"offsets topic {topic} could not be read: {exc.args[0].str()}") from exc
    finally:
        consumer.close()


def _read_to(
    consumer: confluent_kafka.Consumer, topic: str, ends: Mapping[int, int], connector: str
) -> Offsets:
    offsets: Offsets = {}
    unread = {number: end for number, end in ends.items() if end}
    consumer.assign([TopicPartition(topic, number, 0) for number in unread])
    deadline = time.monotonic() + _TIMEOUT_S
    while unread:
        if time.monotonic() >= deadline:
            raise ConnectError(
                f"offsets topic {topic} could not be read to its end in {_TIMEOUT_S:g} s: "
                "a transaction in it may be open (kafka-transactions shows which)"
            )
        for message in consumer.consume(_BATCH, timeout=0.1):
            error, partition, position = message.error(), message.partition(), message.offset()
            assert partition is not None
            assert position is not None
            if error is None:
                _take(offsets, connector, message.key(), message.value())
                position += 1
            elif error.code() != KafkaError._PARTITION_EOF:  # its offset is behind markers, too
                raise KafkaException(error)
            if partition in unread and position >= unread[partition]:
                del unread[partition]
    return offsets


def _take(offsets: Offsets, connector: str, key: bytes | None, value: bytes | None) -> None:
    try:
        name, partition = orjson.loads(key or b"")
    except (TypeError, ValueError):
        return  # not a key of Connect's
    if name != connector:
        return
    text = (key or b"").decode()
    if value is None:
        offsets.pop(text, None)
    else:
        offsets[text] = partition, orjson.loads(value)
