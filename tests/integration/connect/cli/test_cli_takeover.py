"""`millstream takeover --check`, on topics written as a Java Connect cluster writes them."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from support.cli import millstream
from support.java_topics import recorded

from connect.testing.millstream import Broker

SECRET = "sesame-open"
PARTITIONS = {"connect-configs": 1, "connect-offsets": 25, "connect-status": 5}


class JavaTopics:
    """The three topics of a cluster of one test, under names of their own."""

    def __init__(self, broker: Broker, directory: Path) -> None:
        self.directory = directory
        self.bootstrap = broker.bootstrap
        self.prefix = f"takeover-{uuid.uuid4().hex[:12]}-"
        self.admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        self.producer = Producer({"bootstrap.servers": broker.bootstrap})

    def create(self, *names: str) -> None:
        new = [
            NewTopic(self.prefix + name, PARTITIONS[name], config={"cleanup.policy": "compact"})
            for name in names
        ]
        for made in self.admin.create_topics(new).values():
            made.result(30)

    def write(self, topic: str, key: str, value: str | None, partition: int = 0) -> None:
        self.producer.produce(self.prefix + topic, value, key, partition)
        assert self.producer.flush(30) == 0

    def connector(self, name: str, config: Mapping[str, str]) -> None:
        self.write("connect-configs", f"connector-{name}", json.dumps({"properties": config}))

    def properties(self, **more: str) -> Path:
        """The worker's file; in `more` underscores stand for dots."""
        lines = [f"bootstrap.servers={self.bootstrap}", f"group.id={self.prefix}group"]
        stores = zip(("config", "offset", "status"), PARTITIONS, strict=True)
        lines += [f"{store}.storage.topic={self.prefix}{topic}" for store, topic in stores]
        lines += [f"{name.replace('_', '.')}={value}" for name, value in more.items()]
        file = self.directory / "connect-distributed.properties"
        file.write_text("\n".join(lines) + "\n")
        return file

    def fingerprint(self) -> Any:
        """What may not change: topics with their ends, and consumer groups."""
        topics = self.admin.list_topics(timeout=30).topics
        mine = [
            TopicPartition(name, partition)
            for name, topic in topics.items()
            if name.startswith(self.prefix)
            for partition in topic.partitions
        ]
        ends = self.admin.list_offsets({place: OffsetSpec.latest() for place in mine}) if mine else {}
        groups = self.admin.list_consumer_groups().result(30).valid
        return (
            sorted((place.topic, place.partition, end.result(30).offset) for place, end in ends.items()),
            sorted(group.group_id for group in groups if self.prefix in group.group_id),
        )


@pytest.fixture
def java(broker: Broker, tmp_path: Path) -> JavaTopics:
    return JavaTopics(broker, tmp_path)


def test_recorded_connectors_work_and_nothing_is_touched(java: JavaTopics) -> None:
    java.create(*PARTITIONS)
    for story in ("life_cycle", "offsets_source", "debezium"):
        for each in recorded(story):
            java.write(each.topic, each.key, each.value, each.partition)
    before = java.fingerprint()
    ran = millstream("takeover", "--check", str(java.properties(metrics_num_samples="9")), "-o", "json")
    assert ran.code == 0, ran.err + ran.out
    found = {each["name"]: each for each in ran.json["connectors"]}
    assert {name: each["works"] for name, each in found.items()} == {
        "dz": True, "dz2": True, "lc": True, "os": True,
    }  # fmt: skip
    assert found["dz"]["offsets"][0]["partition"] == {"server": "dz"}
    assert [each["where"] for each in ran.json["worker"]["findings"]] == ["metrics.num.samples"]
    assert "postgres" not in json.dumps(found["dz"]["findings"])
    assert java.fingerprint() == before


def test_what_does_not_work_is_in_the_table_and_no_secret_is(java: JavaTopics) -> None:
    java.create(*PARTITIONS)
    java.connector("unknown", {"connector.class": "com.example.Nothing", "transforms": "t"})
    java.connector(
        "wrong",
        {
            "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
            "database.hostname": "127.0.0.1", "database.user": "u", "database.password": SECRET,
            "database.dbname": "d", "topic.prefix": "p", "snapshot.mode": SECRET,
        },
    )  # fmt: skip
    ran = millstream("takeover", "--check", str(java.properties()))
    assert ran.code == 1
    assert SECRET not in ran.out + ran.err
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[-1] for row in rows if row[:1] in (["unknown"], ["wrong"])][:2] == ["NO", "NO"]
    assert any(row[:3] == ["unknown", "error", "connector.class"] for row in rows)
    assert any(row[:3] == ["wrong", "error", "snapshot.mode"] for row in rows)


def test_a_sinks_committed_offsets(java: JavaTopics) -> None:
    java.create(*PARTITIONS)
    sink = {"connector.class": "FileStreamSink", "file": "out.txt", "topics": java.prefix + "connect-configs"}
    name = java.prefix + "sink"
    java.connector(name, sink)
    file = str(java.properties())
    told = millstream("takeover", "--check", file, "-o", "json").json["connectors"][0]
    assert told["works"]
    assert told["offsets"] == []
    place = TopicPartition(sink["topics"], 0, 1)
    asked = java.admin.alter_consumer_group_offsets(
        [ConsumerGroupTopicPartitions(f"connect-{name}", [place])]
    )
    asked[f"connect-{name}"].result(30)
    told = millstream("takeover", "--check", file, "-o", "json").json["connectors"][0]
    assert told["offsets"] == [{
        "partition": {"kafka_topic": sink["topics"], "kafka_partition": 0}, "offset": {"kafka_offset": 1},
    }]  # fmt: skip


def test_topics_that_are_missing_are_named_and_not_created(java: JavaTopics) -> None:
    ran = millstream("takeover", "--check", str(java.properties()), "-o", "json")
    assert ran.code == 1
    assert [each["where"] for each in ran.json["worker"]["findings"]] == [
        "config.storage.topic", "offset.storage.topic", "status.storage.topic",
    ]  # fmt: skip
    assert java.fingerprint() == ([], [])


def test_rest_that_would_not_be_served_as_before(java: JavaTopics) -> None:
    file = java.properties(listeners="https://127.0.0.1:0", rest_extension_classes="com.example.Auth")
    ran = millstream("takeover", "--check", str(file))
    assert ran.code == 1
    assert "rest.extension.classes" in ran.out
    assert "ssl.keystore" in ran.out


def test_bad_input(java: JavaTopics) -> None:
    assert millstream("takeover", "--check", str(java.directory / "none.properties")).code == 2
    empty = java.directory / "empty.properties"
    empty.write_text("group.id=g\n")
    ran = millstream("takeover", "--check", str(empty))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "bootstrap.servers" in ran.err


def test_a_cluster_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "worker.properties"
    file.write_text("bootstrap.servers=127.0.0.1:1\n")
    ran = millstream("takeover", "--check", str(file))
    assert (ran.code, ran.err.count("\n")) == (1, 1)
    assert "no Kafka broker answers at 127.0.0.1:1" in ran.err
