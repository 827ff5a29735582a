"""librdkafka's consumers as members of a group, for tests of what becomes of their partitions."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from connect.testing.millstream import Broker

DEADLINE_S = 60
PARTITIONS = 4

CLASSIC = {"group_protocol": "classic", "heartbeat_interval_ms": 100}
CONSUMER = {"group_protocol": "consumer", "topic_metadata_refresh_interval_ms": 500}


def create(broker: Broker, topic: str, partitions: int = PARTITIONS) -> AdminClient:
    """Create the topic, unless it is there; a client that has just done so."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    created = admin.create_topics([NewTopic(topic, partitions, 1)])[topic]
    if created.exception() is not None:
        assert "TOPIC_ALREADY_EXISTS" in str(created.exception())
    return admin


def fill(broker: Broker, topic: str, count: int = 100) -> None:
    """Create the topic if need be, and write `count` records round robin to its partitions."""
    create(broker, topic)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for n in range(count):
        producer.produce(topic, str(n).encode(), partition=n % PARTITIONS)
    assert producer.flush(DEADLINE_S) == 0


@contextmanager
def member(
    broker: Broker, group: str, topic: str, revoked: list[Any] | None = None, **config: Any
) -> Iterator[Consumer]:
    """A member of the group, with settings by their names with underscores, as in CLASSIC and CONSUMER.

    Partitions that are taken from it go to `revoked`.
    """
    settings = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "reconnect.backoff.max.ms": 200,
    }
    client = Consumer(settings | {name.replace("_", "."): value for name, value in config.items()})
    client.subscribe([topic], on_revoke=lambda _, gone: None if revoked is None else revoked.extend(gone))
    try:
        yield client
    finally:
        client.close()


def poll_until(
    consumers: Iterable[Consumer], is_done: Callable[[], bool], seen: list[int] | None = None
) -> None:
    """Poll all in turn; record values go to `seen`, errors are the client's to retry."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_done():
        assert time.monotonic() < deadline, "this takes too long"
        for client in consumers:
            for record in client.consume(100, 0.02):
                if record.error() is None and seen is not None:
                    seen.append(int(record.value()))


def partitions(client: Consumer) -> list[int]:
    return sorted(p.partition for p in client.assignment())


def share(*clients: Consumer) -> bool:
    """Whether each has something, and together all."""
    each = [partitions(client) for client in clients]
    return all(each) and sorted(n for owned in each for n in owned) == list(range(PARTITIONS))


def committed(client: Consumer, topic: str) -> list[int]:
    asked = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    return [p.offset for p in client.committed(asked, timeout=DEADLINE_S)]
