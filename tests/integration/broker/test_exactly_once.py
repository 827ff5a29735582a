"""Consume, produce and commit offsets in one transaction, with librdkafka, while the broker is killed."""

import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from connect.testing.millstream import Broker

DEADLINE_S = 60
PARTITIONS = 3
RECORDS = 600
KILLS = 3
FAILURES_MAX = 60
PATIENCE_S = 5
"""After it the application starts anew."""


@contextmanager
def consumer(broker: Broker, group: str, topic: str) -> Iterator[Consumer]:
    client = Consumer(
        {
            "bootstrap.servers": broker.bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "heartbeat.interval.ms": 100,
            "session.timeout.ms": 2000,  # one that could not leave, with the broker away, is soon forgotten
            "reconnect.backoff.max.ms": 200,
        }
    )
    client.subscribe([topic])
    try:
        yield client
    finally:
        client.close()


def copy_all(broker: Broker, producer: Producer, source: str, target: str) -> None:
    """Copy the topic as the group `source`, a few records a transaction, until all offsets are committed."""
    producer.init_transactions(DEADLINE_S)
    every = [TopicPartition(source, partition) for partition in range(PARTITIONS)]
    with consumer(broker, source, source) as client:
        while any(p.offset < RECORDS // PARTITIONS for p in client.committed(every, DEADLINE_S)):
            records = [record for record in client.consume(20, 0.2) if record.error() is None]
            if not records:
                continue
            producer.begin_transaction()
            for record in records:
                producer.produce(target, record.value(), partition=record.partition())
            producer.send_offsets_to_transaction(
                client.position(client.assignment()), client.consumer_group_metadata(), PATIENCE_S
            )
            producer.commit_transaction(PATIENCE_S)


def read_committed(broker: Broker, topic: str) -> list[int]:
    """All records up to the ends of all partitions."""
    found: list[int] = []
    ended: set[int] = set()
    deadline = time.monotonic() + DEADLINE_S
    with consumer(broker, f"reader-{uuid.uuid4().hex[:12]}", topic) as client:
        while len(ended) < PARTITIONS:
            assert time.monotonic() < deadline, f"read {len(found)}, and {ended} to their ends"
            for record in client.consume(500, 0.2):
                if record.error() is None:
                    found.append(int(record.value()))
                elif record.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(record.partition())
    return found


def copy_in_spite_of_failures(broker: Broker, source: str, target: str, failures: list[Any]) -> None:
    """After an error the application starts anew."""
    config = {
        "bootstrap.servers": broker.bootstrap,
        "transactional.id": f"copy-{source}",
        "reconnect.backoff.max.ms": 200,
    }
    producers = []  # kept to the end: to destroy one while the broker is away may take librdkafka for ever
    while len(failures) < FAILURES_MAX:
        producers.append(Producer(config))
        try:
            copy_all(broker, producers[-1], source, target)
            return
        except KafkaException as exc:
            failures.append(exc)


def test_records_and_offsets_are_copied_once_whatever_is_killed(tmp_path: Path, kafka_topic: str) -> None:
    target = kafka_topic + "-copy"
    with Broker(tmp_path / "broker", {"group.min.session.timeout.ms": "500"}) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        created = admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (kafka_topic, target)])
        for future in created.values():
            future.result(DEADLINE_S)
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for n in range(RECORDS):
            producer.produce(kafka_topic, str(n).encode(), partition=n % PARTITIONS)
        assert producer.flush(DEADLINE_S) == 0

        failures: list[Any] = []
        copier = threading.Thread(
            target=copy_in_spite_of_failures, args=(broker, kafka_topic, target, failures)
        )
        copier.start()
        for _ in range(KILLS):
            copier.join(random.uniform(0.3, 1.0))
            broker.kill()
            broker.start()  # here, for it ends with the thread that started it
        copier.join(2 * DEADLINE_S)
        assert not copier.is_alive(), failures
        assert len(failures) < FAILURES_MAX, failures
        assert sorted(read_committed(broker, target)) == list(range(RECORDS))
