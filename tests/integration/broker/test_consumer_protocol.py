"""librdkafka with `group.protocol=consumer` (KIP-848): rebalances, patterns, kills, migration both ways."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupState, ConsumerGroupType
from confluent_kafka.admin import NewPartitions
from support.group_members import (
    CLASSIC,
    CONSUMER,
    DEADLINE_S,
    PARTITIONS,
    committed,
    create,
    fill,
    member,
    partitions,
    poll_until,
    share,
)

from connect.testing.millstream import Broker

QUICK = {
    "group.consumer.heartbeat.interval.ms": "200",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.assignment.interval.ms": "100",
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that has its members heartbeat often."""
    with Broker(tmp_path_factory.mktemp("quick"), QUICK) as broker:
        yield broker


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


def consumer(*args: Any, **config: Any) -> AbstractContextManager[Consumer]:
    """A member by the consumer protocol."""
    return member(*args, **CONSUMER | config)


@pytest.mark.parametrize("assignor", ["uniform", "range"])
def test_members_share_the_partitions_and_one_takes_over(
    quick: Broker, kafka_topic: str, group: str, assignor: str
) -> None:
    admin = create(quick, kafka_topic)
    fill(quick, kafka_topic)
    seen: list[int] = []
    with consumer(quick, group, kafka_topic, group_remote_assignor=assignor) as first:
        poll_until([first], lambda: len(seen) == 100, seen)
        first.commit(asynchronous=False)
        with consumer(quick, group, kafka_topic, group_remote_assignor=assignor) as second:
            poll_until([first, second], lambda: share(first, second))
            described = admin.describe_consumer_groups([group])[group].result(DEADLINE_S)
            assert (described.type, described.partition_assignor) == (ConsumerGroupType.CONSUMER, assignor)
            assert {len(m.assignment.topic_partitions) for m in described.members} == {2}
        poll_until([first], lambda: share(first))
        fill(quick, kafka_topic, 8)
        poll_until([first], lambda: len(seen) == 108, seen)
        assert committed(first, kafka_topic) == [25] * PARTITIONS
        first.commit(asynchronous=False)
        assert committed(first, kafka_topic) == [27] * PARTITIONS
    listed = admin.list_consumer_groups(types={ConsumerGroupType.CONSUMER}).result(DEADLINE_S).valid
    assert [g.state for g in listed if g.group_id == group] == [ConsumerGroupState.EMPTY]


def test_a_pattern_takes_in_topics_that_come_and_partitions_that_are_added(
    quick: Broker, kafka_topic: str, group: str
) -> None:
    admin = create(quick, f"{kafka_topic}-a", 1)
    create(quick, f"other-{kafka_topic}", 1)
    with consumer(quick, group, f"^{kafka_topic}-.*") as reader:

        def has(*expected: tuple[str, int]) -> bool:
            return sorted((p.topic, p.partition) for p in reader.assignment()) == sorted(expected)

        first, second, third = f"{kafka_topic}-a", f"{kafka_topic}-b", f"{kafka_topic}-c"
        poll_until([reader], lambda: has((first, 0)))
        create(quick, second, 1)
        poll_until([reader], lambda: has((first, 0), (second, 0)))
        admin.create_partitions([NewPartitions(second, 3)])[second].result()
        poll_until([reader], lambda: has((first, 0), *((second, n) for n in range(3))))
        admin.delete_topics([first])[first].result()
        create(quick, third, 1)
        poll_until([reader], lambda: has((third, 0), *((second, n) for n in range(3))))


def test_members_survive_a_kill_of_the_broker(tmp_path: Path, kafka_topic: str, group: str) -> None:
    revoked: list[Any] = []
    with Broker(tmp_path / "broker", QUICK | {"group.consumer.session.timeout.ms": "20000"}) as broker:
        create(broker, kafka_topic)
        seen: list[int] = []
        with (
            consumer(broker, group, kafka_topic, revoked) as first,
            consumer(broker, group, kafka_topic, revoked) as second,
        ):
            both = [first, second]
            poll_until(both, lambda: share(*both))
            revoked.clear()
            fill(broker, kafka_topic)
            poll_until(both, lambda: len(seen) >= 100, seen)
            for client in both:
                client.commit(asynchronous=False)
            broker.kill()
            broker.start()
            fill(broker, kafka_topic, 40)
            count = len(seen) + 40
            poll_until(both, lambda: len(seen) >= count, seen)
            assert revoked == []  # members, epochs and assignments were remembered
            for client in both:
                client.commit(asynchronous=False)
            assert committed(first, kafka_topic) == [35] * PARTITIONS


def test_a_static_member_restarts_without_disturbing_the_others(
    quick: Broker, kafka_topic: str, group: str
) -> None:
    create(quick, kafka_topic)
    revoked: list[Any] = []
    with consumer(quick, group, kafka_topic, revoked, group_instance_id="stays") as stays:
        with consumer(quick, group, kafka_topic, group_instance_id="restarts") as restarts:
            poll_until([stays, restarts], lambda: share(stays, restarts))
            before = partitions(restarts)
        revoked.clear()
        with consumer(quick, group, kafka_topic, group_instance_id="restarts") as restarts:
            poll_until([stays, restarts], lambda: partitions(restarts) == before)
        assert revoked == []
        poll_until([stays], lambda: share(stays))  # the other one's session has ended


@pytest.mark.parametrize("strategy", ["range", "roundrobin"])
def test_a_group_moves_to_the_consumer_protocol_and_back_while_it_reads(
    quick: Broker, kafka_topic: str, group: str, strategy: str
) -> None:
    admin = create(quick, kafka_topic)
    classic: dict[str, Any] = CLASSIC | {
        "partition_assignment_strategy": strategy,
        "session_timeout_ms": 6_000,
    }
    seen: list[int] = []
    written = 0

    def type_of() -> ConsumerGroupType:
        listed = admin.list_consumer_groups().result(DEADLINE_S).valid
        (found,) = (g.type for g in listed if g.group_id == group)
        assert isinstance(found, ConsumerGroupType)
        return found

    def read_on(*clients: Consumer) -> None:
        nonlocal written
        fill(quick, kafka_topic)
        written += 100
        poll_until(clients, lambda: len(seen) >= written and share(*clients), seen)
        for client in clients:
            client.commit(asynchronous=False)
        assert committed(clients[0], kafka_topic) == [written // PARTITIONS] * PARTITIONS

    with ExitStack() as old, ExitStack() as new, ExitStack() as last:
        first = old.enter_context(member(quick, group, kafka_topic, **classic))
        second = old.enter_context(member(quick, group, kafka_topic, **classic))
        poll_until([first, second], lambda: share(first, second), seen)
        read_on(first, second)
        assert type_of() is ConsumerGroupType.CLASSIC
        third = new.enter_context(consumer(quick, group, kafka_topic))
        poll_until([first, second, third], lambda: share(first, second, third), seen)
        read_on(first, second, third)
        assert type_of() is ConsumerGroupType.CONSUMER
        old.close()  # the last of the classic ones are gone
        poll_until([third], lambda: share(third), seen)
        read_on(third)
        fourth = last.enter_context(member(quick, group, kafka_topic, **classic))
        poll_until([third, fourth], lambda: share(third, fourth), seen)
        read_on(third, fourth)
        assert type_of() is ConsumerGroupType.CONSUMER
        new.close()
        poll_until([fourth], lambda: share(fourth), seen)
        read_on(fourth)
        assert type_of() is ConsumerGroupType.CLASSIC
    assert set(seen) == set(range(100))
