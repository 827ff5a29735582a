"""ListOffsets in every version, with every timestamp that has a meaning: what Apache Kafka 4.3.1 answered."""

from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, produce

from connect.testing.millstream import Broker

LIST_OFFSETS = 2
VERSIONS = range(1, 12)
LATEST, EARLIEST, MAX_TIMESTAMP, EARLIEST_LOCAL, LATEST_TIERED, EARLIEST_PENDING_UPLOAD = range(-1, -7, -1)
UNSUPPORTED = (ErrorCode.unsupported_version, -1, -1)
NONE = (ErrorCode.none, -1, -1)

# Timestamp, the version that it is known from, the timestamp and the offset of the answer.
ANSWERS = [
    (LATEST, 1, -1, 9), (EARLIEST, 1, -1, 0), (MAX_TIMESTAMP, 7, 2900, 7), (EARLIEST_LOCAL, 8, -1, 0),
    (LATEST_TIERED, 9, -1, -1), (EARLIEST_PENDING_UPLOAD, 11, -1, -1), (-7, 12, -1, -1),
    (0, 1, 5, 0), (5, 1, 5, 0), (6, 1, 900, 1), (900, 1, 900, 1), (901, 1, 1005, 3), (1000, 1, 1005, 3),
    (2900, 1, 2900, 7), (2901, 1, -1, -1),
]  # fmt: skip


@pytest.fixture(scope="module")
def topic(broker: Broker) -> str:
    """Partition 0 has three batches of three records, partition 1 none."""
    name = "list-offsets"
    with Wire(broker.bootstrap) as wire:
        create_topic(wire, name, 2)
        for number in range(3):
            times = [1000 * number + part for part in (5, 900, 100)]
            produce(wire, name, bytes(make_batch([b"a", b"b", b"c"], timestamps=times)))
    return name


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


def ask(wire: Wire, topic: str, version: int, *timestamps: int, partition: int = 0, epoch: int = -1) -> Any:
    asked = [
        {"partition_index": partition, "timestamp": timestamp, "current_leader_epoch": epoch}
        for timestamp in timestamps
    ]
    topics = [{"name": topic, "partitions": asked}]
    (answered,) = wire.ask(LIST_OFFSETS, version, replica_id=-1, topics=topics).topics
    return answered.partitions


@pytest.mark.parametrize("version", VERSIONS)
def test_every_timestamp(wire: Wire, topic: str, version: int) -> None:
    for timestamp, since, found_timestamp, offset in ANSWERS:
        (found,) = ask(wire, topic, version, timestamp)
        expected = (ErrorCode.none, found_timestamp, offset) if version >= since else UNSUPPORTED
        assert (found.error_code, found.timestamp, found.offset) == expected, timestamp
        if version >= 4:
            assert found.leader_epoch == (-1 if offset < 0 or version < since else 0)


def test_an_empty_partition(wire: Wire, topic: str) -> None:
    for timestamp, offset in [(LATEST, 0), (EARLIEST, 0), (EARLIEST_LOCAL, 0), (MAX_TIMESTAMP, -1), (0, -1)]:
        (found,) = ask(wire, topic, 11, timestamp, partition=1)
        assert (found.error_code, found.timestamp, found.offset) == (ErrorCode.none, -1, offset)


@pytest.mark.parametrize(
    ("epoch", "error"),
    [(0, ErrorCode.none), (1, ErrorCode.unknown_leader_epoch), (-2, ErrorCode.fenced_leader_epoch)],
)
def test_the_leader_epoch_is_checked(wire: Wire, topic: str, epoch: int, error: ErrorCode) -> None:
    (found,) = ask(wire, topic, 11, LATEST, epoch=epoch)
    assert found.error_code is error


def test_what_is_not_there(wire: Wire, topic: str) -> None:
    for name, partition in [(topic, 2), (topic, -1), ("nowhere", 0), ("a b", 0)]:
        (found,) = ask(wire, name, 11, LATEST, partition=partition)
        assert (found.error_code, found.offset) == (ErrorCode.unknown_topic_or_partition, -1)


def test_a_partition_twice_is_refused(wire: Wire, topic: str) -> None:
    (refused,) = ask(wire, topic, 11, LATEST, EARLIEST)
    assert (refused.error_code, refused.partition_index) == (ErrorCode.invalid_request, 0)
