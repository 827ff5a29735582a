"""The offsets of a sink's group: what is altered is altered, and what is not stays."""

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from connect.api import ConnectError
from connect.runtime import group_offsets
from connect.testing.millstream import Broker
from connect.testing.topics import Topics


@pytest.fixture
def request_(broker: Broker, kafka_topic: str) -> dict[str, Any]:
    """A request of a sink whose group has committed offset 1 of partition 0, 2 of 1 and 3 of 2."""
    Topics(broker.bootstrap).create(kafka_topic, partitions=3)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    places = [TopicPartition(kafka_topic, number, number + 1) for number in range(3)]
    group = f"connect-{kafka_topic}"
    admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])[group].result(30)
    return {"worker": {"bootstrap.servers": broker.bootstrap}, "connector": kafka_topic, "config": {}}


@pytest.fixture
def member(broker: Broker, kafka_topic: str) -> Iterator[Consumer]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": f"connect-{kafka_topic}"})
    yield consumer
    consumer.close()


def test_one_partition_is_forgotten_and_one_altered(request_: dict[str, Any], kafka_topic: str) -> None:
    group_offsets.alter({**request_, "offsets": [[kafka_topic, 0, None], [kafka_topic, 2, 9]]})
    assert group_offsets.read(request_) == [(kafka_topic, 1, 2), (kafka_topic, 2, 9)]


def test_what_is_not_there_is_forgotten_already(request_: dict[str, Any], kafka_topic: str) -> None:
    group_offsets.alter({**request_, "offsets": [[kafka_topic, 7, None], [f"{kafka_topic}-none", 0, None]]})
    group_offsets.alter({**request_, "connector": f"{kafka_topic}-none", "offsets": [[kafka_topic, 0, None]]})
    assert group_offsets.read(request_) == [(kafka_topic, number, number + 1) for number in range(3)]


def test_a_group_that_reads_the_topic_keeps_its_offsets(
    request_: dict[str, Any], kafka_topic: str, member: Consumer
) -> None:
    member.subscribe([kafka_topic])
    while not member.assignment():
        member.poll(0.1)
    with pytest.raises(ConnectError, match=r"could not be deleted: .*the consumer group is subscribed"):
        group_offsets.alter({**request_, "offsets": [[kafka_topic, 0, None]]})
    assert len(group_offsets.read(request_)) == 3


def test_an_override_that_is_not_allowed_is_refused(request_: dict[str, Any], kafka_topic: str) -> None:
    request_["worker"]["connector.client.config.override.policy"] = "None"
    request_["config"] = {"admin.override.client.id": "x"}
    with pytest.raises(ConnectError, match=r"'None' policy does not allow 'client\.id'"):
        group_offsets.alter({**request_, "offsets": [[kafka_topic, 0, None]]})
