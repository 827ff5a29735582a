"""Kills of the broker and of members while groups rebalance, two processes under one static name, and members
that were replaced: by both group protocols.
"""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from kio.schema.errors import ErrorCode
from support.eventually import eventually
from support.group_members import CLASSIC, CONSUMER, create, fill, member, poll_until, share
from support.kafka_wire import Wire
from support.raw_kafka import create_topic
from support.subscriptions import pack_subscription

from connect.testing.millstream import Broker

COMMIT, FETCH_OFFSETS, JOIN, HEARTBEAT, SYNC, CONSUMER_HEARTBEAT = 8, 9, 11, 12, 14, 68
NONE = ErrorCode.none
RECORDS_PER_ROUND = 40

SETTINGS = {
    "group.min.session.timeout.ms": "500",
    "group.initial.rebalance.delay.ms": "100",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "100",
}

MEMBER = """
import json, sys
from confluent_kafka import Consumer
consumer = Consumer(json.loads(sys.argv[1]))
consumer.subscribe(["t"])
while True:
    consumer.poll(0.1)
    print(len(consumer.assignment()), flush=True)
"""
"""A program that is a member and says how many partitions it has."""


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Broker(tmp_path_factory.mktemp("groups"), SETTINGS) as broker, Wire(broker.bootstrap) as wire:
        create_topic(wire, "t")
        yield broker


@pytest.fixture
def wire(target: Broker) -> Iterator[Wire]:
    with Wire(target.bootstrap) as wire:
        yield wire


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize("protocol", [CLASSIC, CONSUMER], ids=["classic", "consumer"])
def test_kills_of_the_broker_and_of_members_in_rebalances(tmp_path: Path, protocol: dict[str, Any]) -> None:
    """Those that are left share all partitions, go on where was committed, and miss nothing."""
    session: dict[str, Any] = {} if protocol is CONSUMER else {"session_timeout_ms": 3000}
    settings = SETTINGS | {"group.consumer.session.timeout.ms": "3000"}
    with Broker(tmp_path / "d", settings) as broker, ExitStack() as stack:
        create(broker, "t")
        consumers = [stack.enter_context(member(broker, "g", "t", **protocol, **session)) for _ in range(2)]
        seen: list[int] = []
        for round_number in range(2):
            victim = start_member(broker, protocol | session)
            assert victim.stdout is not None
            try:
                poll_until(consumers, lambda: any(c.assignment() for c in consumers), seen)
                broker.kill()  # while the new member comes in
                broker.start()
                wait_for_assignment(victim, consumers, seen)
            finally:
                os.kill(victim.pid, signal.SIGKILL)
                victim.communicate()
            broker.kill()  # while nobody knows that it is gone
            broker.start()
            poll_until(consumers, lambda: share(*consumers), seen)
            fill(broker, "t", RECORDS_PER_ROUND)
            wanted = (round_number + 1) * RECORDS_PER_ROUND
            poll_until(consumers, lambda wanted=wanted: len(seen) >= wanted, seen)  # type: ignore[misc]
            for client in consumers:
                client.commit(asynchronous=False)
        # Each number was written once a round. The killed member commits nothing.
        assert all(seen.count(number) >= 2 for number in range(RECORDS_PER_ROUND))
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            asked = {
                "group_id": "g",
                "member_epoch": -1,
                "topics": [{"name": "t", "partition_indexes": range(4)}],
            }
            (answer,) = wire.ask(FETCH_OFFSETS, 9, groups=[asked]).groups
            offsets = [p.committed_offset for p in answer.topics[0].partitions]
        assert offsets == [2 * RECORDS_PER_ROUND // 4] * 4


def start_member(broker: Broker, settings: dict[str, Any]) -> "subprocess.Popen[bytes]":
    config = {
        "bootstrap.servers": broker.bootstrap, "group.id": "g", "enable.auto.commit": False,
        "reconnect.backoff.max.ms": 200, "log_level": 0,
    } | {name.replace("_", "."): value for name, value in settings.items()}  # fmt: skip
    return subprocess.Popen([sys.executable, "-c", MEMBER, json.dumps(config)], stdout=subprocess.PIPE)


def wait_for_assignment(
    process: "subprocess.Popen[bytes]", consumers: list[Consumer], seen: list[int]
) -> None:
    """Until the process has partitions; the others go on, or nobody would give any up."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    output = b""

    def has_some() -> bool:
        nonlocal output
        assert process.stdout is not None
        output += process.stdout.read() or b""
        return output.splitlines()[-1:] not in ([], [b"0"])

    poll_until(consumers, has_some, seen)


def join_classic(wire: Wire, group: str, instance_id: str | None, member_id: str = "") -> Any:
    asked = {
        "group_id": group, "group_instance_id": instance_id, "protocol_type": "consumer",
        "session_timeout": 10_000, "rebalance_timeout": 10_000,
        "protocols": [{"name": "range", "metadata": pack_subscription(["t"])}],
    }  # fmt: skip
    joined = wire.ask(JOIN, 9, member_id=member_id, **asked)
    if joined.error_code is ErrorCode.member_id_required:
        joined = wire.ask(JOIN, 9, member_id=joined.member_id, **asked)
    return joined


def sync(wire: Wire, group: str, joined: Any, instance_id: str | None = None) -> None:
    answer = wire.ask(
        SYNC, 5, group_id=group, generation_id=joined.generation_id, member_id=joined.member_id,
        group_instance_id=instance_id, protocol_type="consumer", protocol_name="range",
        assignments=[{"member_id": joined.member_id, "assignment": b""}],
    )  # fmt: skip
    assert answer.error_code is NONE


def commit(
    wire: Wire, group: str, member_id: str, epoch: int, offset: int, instance_id: str | None = None
) -> Any:
    partitions = [{"partition_index": 0, "committed_offset": offset}]
    answer = wire.ask(
        COMMIT, 9, group_id=group, generation_id_or_member_epoch=epoch, member_id=member_id,
        group_instance_id=instance_id, topics=[{"name": "t", "partitions": partitions}],
    )  # fmt: skip
    return answer.topics[0].partitions[0].error_code


def committed(wire: Wire, group: str) -> int:
    asked = {"group_id": group, "member_epoch": -1, "topics": [{"name": "t", "partition_indexes": [0]}]}
    (answer,) = wire.ask(FETCH_OFFSETS, 9, groups=[asked]).groups
    return int(answer.topics[0].partitions[0].committed_offset)


def test_two_processes_under_one_static_name(wire: Wire, group: str) -> None:
    """The later one takes over; the earlier one is told so, and cannot commit."""
    first = join_classic(wire, group, "name")
    sync(wire, group, first, "name")
    assert commit(wire, group, first.member_id, first.generation_id, 5, "name") is NONE
    second = join_classic(wire, group, "name")
    assert second.member_id != first.member_id
    fenced = ErrorCode.fenced_instance_id
    beat = {"group_id": group, "generation_id": first.generation_id, "group_instance_id": "name"}
    assert wire.ask(HEARTBEAT, 4, member_id=first.member_id, **beat).error_code is fenced
    assert commit(wire, group, first.member_id, first.generation_id, 9, "name") is fenced
    assert join_classic(wire, group, "name", first.member_id).error_code is fenced
    assert committed(wire, group) == 5
    assert wire.ask(HEARTBEAT, 4, member_id=second.member_id, **beat).error_code is NONE


def beat(wire: Wire, group: str, member_id: str, epoch: int, **said: Any) -> Any:
    return wire.ask(CONSUMER_HEARTBEAT, 1, group_id=group, member_id=member_id, member_epoch=epoch, **said)


def join_consumer(wire: Wire, group: str, member_id: str, instance_id: str | None = None) -> Any:
    return beat(
        wire, group, member_id, 0, instance_id=instance_id, rebalance_timeout=5000,
        subscribed_topic_names=["t"], topic_partitions=(),
    )  # fmt: skip


def test_two_processes_under_one_static_name_by_the_consumer_protocol(wire: Wire, group: str) -> None:
    """The later one has to wait until the earlier one gives the name up (KIP-848)."""
    first = join_consumer(wire, group, "first", "name")
    assert first.error_code is NONE
    assert join_consumer(wire, group, "second", "name").error_code is ErrorCode.unreleased_instance_id
    assert commit(wire, group, "first", first.member_epoch, 5) is NONE
    assert beat(wire, group, "first", -2, instance_id="name").error_code is NONE  # it will be back
    second = join_consumer(wire, group, "second", "name")
    assert second.error_code is NONE
    assert commit(wire, group, "first", first.member_epoch, 9) is not NONE
    late = beat(wire, group, "first", first.member_epoch, instance_id="name")
    assert late.error_code in (ErrorCode.fenced_instance_id, ErrorCode.unknown_member_id)
    assert committed(wire, group) == 5
    assert commit(wire, group, "second", second.member_epoch, 6) is NONE


def test_commits_of_a_generation_before(wire: Wire, group: str) -> None:
    first = join_classic(wire, group, None)
    sync(wire, group, first)
    assert commit(wire, group, first.member_id, first.generation_id, 5) is NONE
    again = join_classic(wire, group, None, first.member_id)  # the leader comes back: a new generation
    sync(wire, group, again)
    assert again.generation_id > first.generation_id
    stale = ErrorCode.illegal_generation
    assert commit(wire, group, first.member_id, first.generation_id, 9) is stale
    assert commit(wire, group, "somebody", again.generation_id, 9) is ErrorCode.unknown_member_id
    assert committed(wire, group) == 5


def test_commits_of_a_member_epoch_before(wire: Wire, group: str) -> None:
    """An older epoch may commit only what the member has held ever since (KIP-1251), here nothing."""
    first = join_consumer(wire, group, "first")
    assert commit(wire, group, "first", first.member_epoch, 5) is NONE
    assert beat(wire, group, "first", -1).error_code is NONE
    assert commit(wire, group, "first", first.member_epoch, 9) is ErrorCode.unknown_member_id
    again = join_consumer(wire, group, "first")

    def has_a_newer_epoch() -> bool:
        nonlocal again
        again = beat(wire, group, "first", again.member_epoch)
        return bool(again.member_epoch > first.member_epoch)

    eventually(has_a_newer_epoch, "it gets no assignment")
    assert commit(wire, group, "first", first.member_epoch, 9) is ErrorCode.stale_member_epoch
    assert commit(wire, group, "first", again.member_epoch + 1, 9) is ErrorCode.stale_member_epoch
    assert committed(wire, group) == 5


def test_a_member_that_slept_through_its_session(wire: Wire, group: str) -> None:
    first = join_consumer(wire, group, "sleeper")
    assert commit(wire, group, "sleeper", first.member_epoch, 5) is NONE
    eventually(
        lambda: commit(wire, group, "", -1, 6) is NONE, "the session never ends"
    )  # without members anybody may commit
    assert commit(wire, group, "sleeper", first.member_epoch, 9) is ErrorCode.unknown_member_id
    assert beat(wire, group, "sleeper", first.member_epoch).error_code is ErrorCode.unknown_member_id
    assert committed(wire, group) == 6
