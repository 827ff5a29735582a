"""DescribeProducers and WriteTxnMarkers in every version that the broker serves, as Kafka 4.3.1 answers."""

from collections.abc import Iterator
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch, produce
from support.raw_transactions import TransactionalProducer

from connect.testing.millstream import Broker

WRITE_TXN_MARKERS, DESCRIBE_PRODUCERS = 27, 61
PRODUCER = 77_000


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


def mark(wire: Wire, version: int, topic: str, partitions: list[int], **changes: Any) -> dict[int, ErrorCode]:
    """The error of each partition."""
    marker: dict[str, Any] = {
        "producer_id": PRODUCER,
        "producer_epoch": 5,
        "transaction_result": False,
        "topics": [{"name": topic, "partition_indexes": partitions}],
        "coordinator_epoch": 3,
    }
    (written,) = wire.ask(WRITE_TXN_MARKERS, version, markers=[marker | changes]).markers
    assert written.producer_id == changes.get("producer_id", PRODUCER)
    (answered,) = written.topics
    assert answered.name == topic
    return {result.partition_index: result.error_code for result in answered.partitions}


def describe(wire: Wire, topic: str, partitions: list[int]) -> dict[int, Any]:
    (answered,) = wire.ask(
        DESCRIBE_PRODUCERS, 0, topics=[{"name": topic, "partition_indexes": partitions}]
    ).topics
    assert answered.name == topic
    return {partition.partition_index: partition for partition in answered.partitions}


def state(wire: Wire, topic: str, producer_id: int = PRODUCER) -> tuple[int, int, int, int]:
    """Epoch, last sequence, coordinator epoch and the transaction's first offset."""
    (found,) = [p for p in describe(wire, topic, [0])[0].active_producers if p.producer_id == producer_id]
    return found.producer_epoch, found.last_sequence, found.coordinator_epoch, found.current_txn_start_offset


@pytest.mark.parametrize("version", [1, 2])
def test_write_txn_markers(wire: Wire, kafka_topic: str, version: int) -> None:
    create_topic(wire, kafka_topic, 2)
    unknown = ErrorCode.unknown_topic_or_partition
    assert mark(wire, version, kafka_topic, [0, 1, 2, -1]) == {
        0: ErrorCode.none, 1: ErrorCode.none, 2: unknown, -1: unknown,
    }  # fmt: skip
    assert mark(wire, version, f"no-{kafka_topic}", [0]) == {0: unknown}
    assert mark(wire, version, kafka_topic, [0]) == {0: ErrorCode.none}
    assert mark(wire, version, kafka_topic, [0], producer_epoch=4) == {0: ErrorCode.invalid_producer_epoch}
    fenced = mark(wire, version, kafka_topic, [0], coordinator_epoch=2)
    assert fenced == {0: ErrorCode.transaction_coordinator_fenced}
    assert state(wire, kafka_topic) == (5, -1, 3, -1)
    (answered,) = fetch(wire, kafka_topic, {0: 0}).responses
    assert answered.partitions[0].high_watermark == 2
    assert wire.ask(WRITE_TXN_MARKERS, version, markers=[]).markers == ()


def test_a_marker_of_version_2_needs_a_new_epoch_to_end_a_transaction(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    producer.write(3)
    mine = {"producer_id": producer.producer_id, "transaction_version": 2}
    late = mark(wire, 2, kafka_topic, [0], producer_epoch=producer.producer_epoch, **mine)
    assert late == {0: ErrorCode.invalid_producer_epoch}
    for _ in range(2):  # again, when the coordinator did not hear that it was written
        written = mark(wire, 2, kafka_topic, [0], producer_epoch=producer.producer_epoch + 1, **mine)
        assert written == {0: ErrorCode.none}
    assert state(wire, kafka_topic, producer.producer_id) == (producer.producer_epoch + 1, -1, 3, -1)


@pytest.mark.parametrize("version", [1, 2])
def test_a_hanging_transaction_is_found_and_aborted(wire: Wire, kafka_topic: str, version: int) -> None:
    """What `kafka-transactions find-hanging` and `abort` ask for."""
    create_topic(wire, kafka_topic)
    producer = TransactionalProducer(wire, kafka_topic, kafka_topic)
    produce(wire, kafka_topic, bytes(make_batch(2)))
    producer.write(3)
    assert state(wire, kafka_topic, producer.producer_id) == (producer.producer_epoch, 2, -1, 2)
    written = mark(
        wire,
        version,
        kafka_topic,
        [0],
        producer_id=producer.producer_id,
        producer_epoch=producer.producer_epoch,
        coordinator_epoch=0,
    )
    assert written == {0: ErrorCode.none}
    assert state(wire, kafka_topic, producer.producer_id) == (producer.producer_epoch, 2, 0, -1)
    (answered,) = fetch(wire, kafka_topic, {0: 2}, committed=True).responses
    (partition,) = answered.partitions
    assert (partition.last_stable_offset, partition.high_watermark) == (6, 6)
    assert [aborted.first_offset for aborted in partition.aborted_transactions] == [2]


def test_describe_producers(wire: Wire, kafka_topic: str) -> None:
    create_topic(wire, kafka_topic, 2)
    for number in range(2):
        batch = make_batch(3, producer_id=PRODUCER, producer_epoch=4, sequence=3 * number)
        assert produce(wire, kafka_topic, bytes(batch)).error_code is ErrorCode.none
    described = describe(wire, kafka_topic, [0, 1, 2, -1])
    assert {index: partition.error_code for index, partition in described.items()} == {
        0: ErrorCode.none,
        1: ErrorCode.none,
        2: ErrorCode.unknown_topic_or_partition,
        -1: ErrorCode.unknown_topic_or_partition,
    }
    assert [described[index].active_producers for index in (1, 2, -1)] == [(), (), ()]
    assert state(wire, kafka_topic) == (4, 5, -1, -1)
    (producer,) = described[0].active_producers
    assert producer.last_timestamp == 1002
    assert describe(wire, f"no-{kafka_topic}", [0])[0].error_code is ErrorCode.unknown_topic_or_partition
