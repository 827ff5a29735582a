"""Administration, by every client that has it."""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest
from support.client_agent import Agent, ClientError
from support.kafka_clients import clients_with

OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION, MESSAGE_TOO_LARGE, INVALID_TOPIC = 1, 3, 10, 17
TOPIC_ALREADY_EXISTS, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR, INVALID_CONFIG = 36, 37, 38, 40
NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND = 68, 69
UNKNOWN_MEMBER_ID, GROUP_SUBSCRIBED_TO_TOPIC = 25, 86


@contextlib.contextmanager
def refused(*codes: int) -> Iterator[None]:
    with pytest.raises(ClientError) as caught:
        yield
    assert caught.value.code in codes, caught.value


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)


def numbered(start: int, end: int) -> list[dict[str, object]]:
    return [{"value": str(n), "partition": 0} for n in range(start, end)]


@clients_with("create_topic", "delete_topic", "list_topics")
def test_topics_are_created_listed_and_deleted(client: Agent, kafka_topic: str) -> None:
    client.call("create_topic", topic=kafka_topic, partitions=3)
    until(lambda: kafka_topic in client.call("list_topics"))
    with refused(TOPIC_ALREADY_EXISTS):
        client.call("create_topic", topic=kafka_topic, partitions=3)
    with refused(INVALID_PARTITIONS):
        client.call("create_topic", topic=f"{kafka_topic}-none", partitions=0)
    with refused(INVALID_REPLICATION_FACTOR):
        client.call("create_topic", topic=f"{kafka_topic}-three", partitions=1, replicas=3)
    with refused(INVALID_TOPIC):
        client.call("create_topic", topic="no topic", partitions=1)
    client.call("delete_topic", topic=kafka_topic)
    until(lambda: kafka_topic not in client.call("list_topics"))
    with refused(UNKNOWN_TOPIC_OR_PARTITION):
        client.call("delete_topic", topic=kafka_topic)


@clients_with("create_partitions", "describe_topic")
def test_partitions_are_added(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 2)
    until(lambda: client.call("describe_topic", topic=kafka_topic)["partitions"] == 2)
    client.call("create_partitions", topic=kafka_topic, total=5)
    until(lambda: client.call("describe_topic", topic=kafka_topic)["partitions"] == 5)
    with refused(INVALID_PARTITIONS):
        client.call("create_partitions", topic=kafka_topic, total=2)
    with refused(UNKNOWN_TOPIC_OR_PARTITION):
        client.call("create_partitions", topic=f"{kafka_topic}-no", total=2)


@clients_with("describe_configs", "alter_configs")
def test_configs_are_changed_and_obeyed(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1, configs={"cleanup.policy": "compact"})

    def config(name: str) -> str:
        configs: dict[str, str] = client.call("describe_configs", resource="topic", name=kafka_topic)
        return configs[name]

    until(lambda: config("cleanup.policy") == "compact")
    assert (config("retention.ms"), config("max.message.bytes")) == ("604800000", "1048588")
    change = {"max.message.bytes": "1000", "cleanup.policy": "delete"}
    client.call("alter_configs", resource="topic", name=kafka_topic, changes=change)
    until(lambda: config("max.message.bytes") == "1000")
    assert config("cleanup.policy") == "delete"
    client.call("producer", handle="writer")
    produce = {"topic": kafka_topic, "records": [{"value": "x" * 2000, "partition": 0}]}
    with refused(MESSAGE_TOO_LARGE):
        client.call("produce", handle="writer", **produce)
    client.call("alter_configs", resource="topic", name=kafka_topic, changes={"max.message.bytes": None})
    until(lambda: config("max.message.bytes") == "1048588")
    client.call("produce", handle="writer", **produce)


@clients_with("describe_configs", "alter_configs")
def test_configs_that_make_no_sense_are_refused(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    for change in ({"no.such.config": "1"}, {"retention.ms": "soon"}, {"retention.ms": "-2"}):
        with refused(INVALID_CONFIG):
            client.call("alter_configs", resource="topic", name=kafka_topic, changes=change)
    with refused(UNKNOWN_TOPIC_OR_PARTITION):
        nowhere = f"{kafka_topic}-no"
        client.call("alter_configs", resource="topic", name=nowhere, changes={"retention.ms": "1"})


@clients_with("describe_configs", "validate_only")
def test_validating_changes_nothing(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    alter = {"resource": "topic", "name": kafka_topic, "validate_only": True}
    client.call("alter_configs", changes={"retention.ms": "5"}, **alter)
    with refused(INVALID_CONFIG):
        client.call("alter_configs", changes={"retention.ms": "soon"}, **alter)
    configs = client.call("describe_configs", resource="topic", name=kafka_topic)
    assert configs["retention.ms"] == "604800000"


@clients_with("describe_configs", "describe_cluster")
def test_the_brokers_own_configs_are_described(client: Agent) -> None:
    broker = client.call("describe_cluster")["nodes"][0]
    configs = client.call("describe_configs", resource="broker", name=str(broker))
    assert {"num.partitions", "log.retention.ms", "message.max.bytes"} <= set(configs)


@clients_with("describe_cluster")
def test_the_cluster_is_described(client: Agent) -> None:
    described = client.call("describe_cluster")
    assert len(described["nodes"]) == 1
    assert described["cluster_id"]


@clients_with("groups", "describe_group", "list_groups", "delete_group")
def test_groups_are_listed_described_and_deleted(client: Agent, kafka_topic: str) -> None:
    group = f"g-{kafka_topic}"
    client.create_topic(kafka_topic, 2)
    client.call("consumer", handle="member", topics=[kafka_topic], group=group)
    client.settle(["member"], lambda assignments: len(assignments[0]) == 2)
    described = client.call("describe_group", group=group)
    assert described["state"].upper() == "STABLE"
    assert described["members"] == [[[kafka_topic, 0], [kafka_topic, 1]]]
    assert group in client.call("list_groups")
    with refused(NON_EMPTY_GROUP):
        client.call("delete_group", group=group)
    client.call("commit", handle="member", offsets=[[kafka_topic, 0, 0]])
    client.call("close_consumer", handle="member")
    until(lambda: client.call("describe_group", group=group)["state"].upper() == "EMPTY")
    client.call("delete_group", group=group)
    assert group not in client.call("list_groups")
    with refused(GROUP_ID_NOT_FOUND):
        client.call("delete_group", group=group)


@clients_with("group_offsets", "alter_group_offsets")
def test_offsets_of_a_group_are_listed_and_reset(client: Agent, kafka_topic: str) -> None:
    group = f"g-{kafka_topic}"
    client.create_topic(kafka_topic, 2)
    client.call("alter_group_offsets", group=group, offsets=[[kafka_topic, 0, 3], [kafka_topic, 1, 4]])
    listed = client.call("group_offsets", group=group)
    assert [row[:3] for row in listed] == [[kafka_topic, 0, 3], [kafka_topic, 1, 4]]
    client.call("alter_group_offsets", group=group, offsets=[[kafka_topic, 0, 1]])
    listed = client.call("group_offsets", group=group)
    assert [row[:3] for row in listed] == [[kafka_topic, 0, 1], [kafka_topic, 1, 4]]


@clients_with("group_offsets", "alter_group_offsets", "delete_group_offsets")
def test_offsets_of_a_group_are_deleted(client: Agent, kafka_topic: str) -> None:
    group = f"g-{kafka_topic}"
    client.create_topic(kafka_topic, 2)
    client.call("alter_group_offsets", group=group, offsets=[[kafka_topic, 0, 3], [kafka_topic, 1, 4]])
    client.call("delete_group_offsets", group=group, partitions=[[kafka_topic, 0]])
    assert [row[:3] for row in client.call("group_offsets", group=group)] == [[kafka_topic, 1, 4]]


@clients_with("groups", "alter_group_offsets", "delete_group_offsets")
def test_offsets_of_an_active_group_are_its_own(client: Agent, kafka_topic: str) -> None:
    group = f"g-{kafka_topic}"
    client.create_topic(kafka_topic, 1)
    client.call("consumer", handle="member", topics=[kafka_topic], group=group)
    client.settle(["member"], lambda assignments: len(assignments[0]) == 1)
    client.call("commit", handle="member", offsets=[[kafka_topic, 0, 3, "m"]])
    with refused(UNKNOWN_MEMBER_ID):
        client.call("alter_group_offsets", group=group, offsets=[[kafka_topic, 0, 1]])
    with refused(GROUP_SUBSCRIBED_TO_TOPIC):
        client.call("delete_group_offsets", group=group, partitions=[[kafka_topic, 0]])
    assert client.call("group_offsets", group=group) == [[kafka_topic, 0, 3, "m"]]


@clients_with("delete_records", "list_offset")
def test_records_are_deleted_up_to_an_offset(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1)
    client.call("producer", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(0, 10))
    assert client.call("delete_records", topic=kafka_topic, partition=0, before=4) in (4, None)
    assert client.call("list_offset", topic=kafka_topic, partition=0, at=-2) == 4
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    assert [record["value"] for record in client.read("reader", 6)] == [str(n) for n in range(4, 10)]
    with refused(OFFSET_OUT_OF_RANGE):
        client.call("delete_records", topic=kafka_topic, partition=0, before=11)
    assert client.call("delete_records", topic=kafka_topic, partition=0, before=-1) in (10, None)
    assert client.call("list_offset", topic=kafka_topic, partition=0, at=-2) == 10


@clients_with("delete_topic", "produce", "consume")
def test_a_topic_that_was_deleted_and_made_again_is_empty(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 2)
    client.call("producer", handle="writer")
    client.call("produce", handle="writer", topic=kafka_topic, records=numbered(0, 5))
    client.call("delete_topic", topic=kafka_topic)

    def made_again() -> bool:
        with contextlib.suppress(ClientError):
            client.call("create_topic", topic=kafka_topic, partitions=1)
            return True
        return False

    until(made_again)

    def written() -> bool:  # by the producer that knew the old one
        with contextlib.suppress(ClientError):
            client.call("produce", handle="writer", topic=kafka_topic, records=numbered(5, 10))
            return True
        return False

    until(written)
    client.call("consumer", handle="reader", positions=[[kafka_topic, 0, -2]])
    read = client.read("reader", 5)
    assert [(record["offset"], record["value"]) for record in read[:5]] == [(n, str(n + 5)) for n in range(5)]


@clients_with("produce", "consume", "many_partitions", "delete_topic")
def test_a_thousand_partitions(client: Agent, kafka_topic: str) -> None:
    client.create_topic(kafka_topic, 1000)
    client.call("producer", handle="writer")
    records = [{"value": str(n), "partition": n} for n in range(1000)]
    client.call("produce", handle="writer", topic=kafka_topic, records=records)
    client.call("consumer", handle="reader", positions=[[kafka_topic, n, -2] for n in range(1000)])
    read = sorted((record["partition"], int(record["value"])) for record in client.read("reader", 1000))
    assert read == [(n, n) for n in range(1000)]
    client.call("delete_topic", topic=kafka_topic)
