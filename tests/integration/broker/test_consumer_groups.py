"""Consumer groups of librdkafka and aiokafka: rebalances, commits, and kills of the broker."""

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, ConsumerGroupState, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from connect.testing.millstream import Broker

DEADLINE_S = 30
PARTITIONS = 4
QUICK = {"group.min.session.timeout.ms": "500"}


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def fill(broker: Broker, topic: str, count: int = 100) -> None:
    """Create the topic if need be, and write `count` records round robin to its partitions."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    created = admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic]
    if created.exception() is not None:
        assert "TOPIC_ALREADY_EXISTS" in str(created.exception())
    producer = Producer({"bootstrap.servers": broker.bootstrap, "acks": "all"})
    for n in range(count):
        producer.produce(topic, str(n).encode(), partition=n % PARTITIONS)
    assert producer.flush(DEADLINE_S) == 0


@contextmanager
def consumer(
    broker: Broker, group: str, topic: str, revoked: list[Any] | None = None, **config: Any
) -> Iterator[Consumer]:
    """A member of the group. Partitions that are taken from it go to `revoked`."""
    settings = {
        "bootstrap.servers": broker.bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "heartbeat.interval.ms": 100,
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


def committed(client: Consumer, topic: str) -> list[int]:
    asked = [TopicPartition(topic, n) for n in range(PARTITIONS)]
    return [p.offset for p in client.committed(asked, timeout=DEADLINE_S)]


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_two_members_share_the_partitions_and_one_takes_over(
    broker: Broker, kafka_topic: str, group: str, strategy: str
) -> None:
    fill(broker, kafka_topic)
    seen: list[int] = []
    with consumer(broker, group, kafka_topic, partition_assignment_strategy=strategy) as first:
        poll_until([first], lambda: len(seen) == 100, seen)
        first.commit(asynchronous=False)
        with consumer(broker, group, kafka_topic, partition_assignment_strategy=strategy) as second:
            poll_until([first, second], lambda: len(partitions(first)) == len(partitions(second)) == 2, seen)
            assert sorted(partitions(first) + partitions(second)) == list(range(PARTITIONS))
        poll_until([first], lambda: len(partitions(first)) == PARTITIONS, seen)
        fill(broker, kafka_topic, 8)
        poll_until([first], lambda: len(seen) == 108, seen)
        assert committed(first, kafka_topic) == [25] * PARTITIONS
    assert sorted(seen) == sorted([*range(100), *range(8)])


def test_a_consumer_goes_on_where_the_last_one_committed(
    broker: Broker, kafka_topic: str, group: str
) -> None:
    fill(broker, kafka_topic)
    seen: list[int] = []
    with consumer(broker, group, kafka_topic) as first:
        poll_until([first], lambda: len(seen) == 100, seen)
        first.commit(asynchronous=False)
    fill(broker, kafka_topic, 4)
    with consumer(broker, group, kafka_topic) as second:
        poll_until([second], lambda: len(seen) == 104, seen)
    assert sorted(seen[100:]) == [0, 1, 2, 3]


def test_a_group_survives_a_kill_of_the_broker(tmp_path: Path, kafka_topic: str, group: str) -> None:
    with Broker(tmp_path / "broker") as broker:
        fill(broker, kafka_topic, 0)
        seen: list[int] = []
        revoked: list[Any] = []
        with (
            consumer(broker, group, kafka_topic, revoked) as first,
            consumer(broker, group, kafka_topic, revoked) as second,
        ):
            both = [first, second]
            poll_until(both, lambda: all(len(partitions(client)) == 2 for client in both))
            revoked.clear()
            fill(broker, kafka_topic)
            poll_until(both, lambda: len(seen) >= 100, seen)
            for client in both:
                client.commit(asynchronous=False)
            before = committed(first, kafka_topic)
            assert before == [25] * PARTITIONS
            broker.kill()
            broker.start()
            fill(broker, kafka_topic, 40)
            count = len(seen) + 40
            poll_until(both, lambda: len(seen) >= count, seen)
            assert revoked == []  # the members, their assignment and the generation were remembered
            for client in both:
                client.commit(asynchronous=False)
            assert committed(first, kafka_topic) == [35] * PARTITIONS


def test_a_static_member_restarts_without_disturbing_the_others(
    broker: Broker, kafka_topic: str, group: str
) -> None:
    fill(broker, kafka_topic)
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})
    revoked: list[Any] = []

    def static(name: str, revoked: list[Any] | None = None) -> Any:
        settings = {"group_instance_id": name, "session_timeout_ms": 30_000}
        return consumer(broker, group, kafka_topic, revoked, **settings)

    with static("first", revoked) as first:
        with static("second") as second:
            poll_until([first, second], lambda: len(partitions(first)) == len(partitions(second)) == 2)
            before = partitions(second)
        revoked.clear()
        # A static member does not say that it goes (KIP-345).
        with static("second") as second:
            poll_until([first, second], lambda: partitions(second) == before)
        assert revoked == []
        described = admin.describe_consumer_groups([group])[group].result(DEADLINE_S)
        assert described.state is ConsumerGroupState.STABLE
        assert sorted(m.group_instance_id for m in described.members) == ["first", "second"]


def test_a_member_that_dies_is_replaced_after_its_session(
    tmp_path: Path, kafka_topic: str, group: str
) -> None:
    with Broker(tmp_path / "broker", QUICK) as broker:
        fill(broker, kafka_topic)
        static = {"group_instance_id": "dies", "session_timeout_ms": 1000}
        with consumer(broker, group, kafka_topic, **static) as dies:
            poll_until([dies], lambda: len(partitions(dies)) == PARTITIONS)
        with consumer(broker, group, kafka_topic) as heir:
            poll_until([heir], lambda: len(partitions(heir)) == PARTITIONS)


def test_aiokafka_members_share_and_commit(broker: Broker, kafka_topic: str, group: str) -> None:
    fill(broker, kafka_topic)

    async def scenario() -> None:
        seen: list[int] = []

        async def read(client: AIOKafkaConsumer) -> None:
            async for record in client:
                seen.append(int(record.value))

        def make() -> AIOKafkaConsumer:
            return AIOKafkaConsumer(
                kafka_topic,
                bootstrap_servers=broker.bootstrap,
                group_id=group,
                auto_offset_reset="earliest",
                enable_auto_commit=False,
                heartbeat_interval_ms=100,
                metadata_max_age_ms=1000,
            )

        async with asyncio.timeout(DEADLINE_S), make() as first, make() as second:
            readers = [asyncio.create_task(read(client)) for client in (first, second)]
            for _ in range(DEADLINE_S * 50):
                owned = [p.partition for client in (first, second) for p in client.assignment()]
                if len(set(seen)) == 100 and sorted(owned) == list(range(PARTITIONS)) and first.assignment():
                    break
                await asyncio.sleep(0.02)
            assert first.assignment()
            assert second.assignment()
            await asyncio.gather(first.commit(), second.commit())
            for reader in readers:
                reader.cancel()
        assert set(seen) == set(range(100))

    asyncio.run(scenario())
    with consumer(broker, group, kafka_topic) as later:
        assert committed(later, kafka_topic) == [25] * PARTITIONS
