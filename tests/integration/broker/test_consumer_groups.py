"""Consumer groups of librdkafka and aiokafka: rebalances, commits, and kills of the broker."""

import asyncio
import uuid
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Consumer, ConsumerGroupState
from confluent_kafka.admin import AdminClient
from support.group_members import (
    CLASSIC,
    DEADLINE_S,
    PARTITIONS,
    committed,
    fill,
    member,
    partitions,
    poll_until,
)

from connect.testing.millstream import Broker

QUICK = {"group.min.session.timeout.ms": "500"}


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def consumer(*args: Any, **config: Any) -> AbstractContextManager[Consumer]:
    """A member by the classic protocol."""
    return member(*args, **CLASSIC | config)


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
