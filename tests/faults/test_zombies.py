"""Requests of producers that come too late, twice, or from somebody who has been replaced, by both versions
of transactions: they change nothing, whatever they are answered. The answers are those of Apache Kafka 4.3.1.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.eventually import eventually
from support.faulty_broker import BrokerWithFaults
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch, produce
from support.raw_transactions import TransactionalProducer, TransactionalProducerV2
from support.read_committed import read_committed_over as seen

from connect.testing.millstream import Broker

INIT = 22
DAY_MS = 24 * 3_600_000
SEQUENCE_MAX = 2**31 - 1

NONE = ErrorCode.none
OLD_EPOCH = ErrorCode.invalid_producer_epoch
FENCED = ErrorCode.producer_fenced
OUT_OF_ORDER = ErrorCode.out_of_order_sequence_number
NOT_OPEN = ErrorCode.transaction_abortable

Version = type[TransactionalProducer]


@pytest.fixture
def wire(broker: Broker) -> Iterator[Wire]:
    with Wire(broker.bootstrap) as wire:
        yield wire


@pytest.fixture
def topic(wire: Wire, kafka_topic: str) -> str:
    create_topic(wire, kafka_topic)
    return kafka_topic


@pytest.fixture(params=[TransactionalProducer, TransactionalProducerV2], ids=["v1", "v2"])
def version(request: pytest.FixtureRequest) -> Version:
    chosen: Version = request.param
    return chosen


def partition_of(wire: Wire, topic: str) -> Any:
    """What a read_committed consumer is sent."""
    (answered,) = fetch(wire, topic, {0: 0}, committed=True).responses
    (partition,) = answered.partitions
    assert partition.error_code is NONE
    return partition


def nothing_is_open(wire: Wire, topic: str) -> bool:
    partition = partition_of(wire, topic)
    return bool(partition.last_stable_offset == partition.high_watermark)


def end_offset(wire: Wire, topic: str) -> int:
    return int(partition_of(wire, topic).high_watermark)


def test_a_producer_that_was_replaced(wire: Wire, topic: str, version: Version) -> None:
    """It can neither go on with its transaction, which is aborted, nor touch that of its successor."""
    zombie = version(wire, topic, topic)
    zombie.write()
    heir = version(wire, topic, topic)
    assert (heir.producer_id, heir.producer_epoch > zombie.producer_epoch) == (zombie.producer_id, True)
    eventually(lambda: nothing_is_open(wire, topic), "the zombie's transaction is not aborted")
    base_offset = heir.write()
    end = end_offset(wire, topic)
    assert zombie.send(zombie.batch()).error_code is OLD_EPOCH
    for commit in (True, False):
        assert zombie.ask_to_end(commit=commit).error_code is FENCED
    assert end_offset(wire, topic) == end
    heir.end(commit=True)
    eventually(lambda: seen(wire, topic) == [base_offset], "not what the heir has written, and that only")


def test_a_produce_that_comes_after_the_abort(wire: Wire, topic: str, version: Version) -> None:
    """It would be open for ever, or part of the next transaction."""
    producer = version(wire, topic, topic)
    producer.write()
    late = producer.batch()
    producer.end(commit=False)
    eventually(lambda: nothing_is_open(wire, topic), "it is not aborted")
    end = end_offset(wire, topic)
    refused = producer.send(late).error_code
    # Before KIP-890 only the coordinator can tell that no transaction is open.
    assert refused is (NOT_OPEN if version is TransactionalProducer else OLD_EPOCH)
    assert (end_offset(wire, topic), seen(wire, topic)) == (end, [])
    assert nothing_is_open(wire, topic)


def test_a_produce_that_comes_after_the_timeout(wire: Wire, topic: str, version: Version) -> None:
    producer = version(wire, topic, topic, timeout_ms=300)
    producer.write()
    eventually(lambda: nothing_is_open(wire, topic), "it is not aborted")
    end = end_offset(wire, topic)
    assert producer.send(producer.batch()).error_code is OLD_EPOCH
    assert producer.ask_to_end(commit=True).error_code is not NONE
    assert (end_offset(wire, topic), seen(wire, topic)) == (end, [])
    assert nothing_is_open(wire, topic)


def test_an_end_that_comes_too_late(wire: Wire, topic: str) -> None:
    """A repeated EndTxn is answered as the first one, but does not end the transaction after."""
    producer = TransactionalProducerV2(wire, topic, topic)
    first = producer.write()
    producer.end(commit=True)
    eventually(lambda: nothing_is_open(wire, topic), "it is not committed")
    epoch = producer.producer_epoch
    producer.producer_epoch -= 1
    again = producer.ask_to_end(commit=True)
    assert (again.error_code, again.producer_epoch) == (NONE, epoch)
    producer.producer_epoch = epoch
    producer.write()
    producer.producer_epoch -= 1
    for commit in (True, False):
        assert producer.ask_to_end(commit=commit).error_code is FENCED
    producer.producer_epoch = epoch
    assert not nothing_is_open(wire, topic)
    producer.end(commit=False)
    eventually(lambda: nothing_is_open(wire, topic), "it is not aborted")
    assert seen(wire, topic) == [first]


def batch(sequence: int, count: int = 1, producer_id: int = 900) -> bytes:
    timestamps = [int(time.time() * 1000)] * count
    return bytes(
        make_batch(count, producer_id=producer_id, producer_epoch=0, sequence=sequence, timestamps=timestamps)
    )


def test_sequences_wrap_around(tmp_path: Path) -> None:
    """Between two batches and inside of one; a kill in between changes nothing."""
    with Broker(tmp_path / "d") as broker:
        last, over, after = batch(SEQUENCE_MAX - 3, 2), batch(SEQUENCE_MAX - 1, 4), batch(2)
        with Wire(broker.bootstrap) as wire:
            create_topic(wire, "t")
            assert produce(wire, "t", last).base_offset == 0
            assert produce(wire, "t", over).base_offset == 2
            assert produce(wire, "t", batch(SEQUENCE_MAX, producer_id=901)).base_offset == 6
        broker.kill()
        broker.start()
        with Wire(broker.bootstrap) as wire:
            assert produce(wire, "t", over).base_offset == 2
            for gap in (batch(0), batch(3), batch(SEQUENCE_MAX)):
                assert produce(wire, "t", gap).error_code is OUT_OF_ORDER
            assert produce(wire, "t", after).base_offset == 7
            assert produce(wire, "t", batch(0, producer_id=901)).base_offset == 8
            assert [produce(wire, "t", again).base_offset for again in (last, over, after)] == [0, 2, 7]
            assert end_offset(wire, "t") == 9


def test_the_sequence_of_a_transaction_wraps_around(wire: Wire, topic: str) -> None:
    producer = TransactionalProducer(wire, topic, topic)
    producer._sequences[0] = SEQUENCE_MAX
    first = producer.write()
    producer._sequences[0] = 0
    assert producer.write() == first + 1
    producer.end(commit=True)
    eventually(lambda: seen(wire, topic) == [first, first + 1], "not committed")


def test_a_retry_of_a_batch_that_is_too_long_ago(wire: Wire, topic: str) -> None:
    """The last five are known, and none is written twice."""
    batches = [batch(number) for number in range(8)]
    for offset, one in enumerate(batches):
        assert produce(wire, topic, one).base_offset == offset
    answers = [produce(wire, topic, one) for one in batches]
    assert [answer.error_code for answer in answers] == [OUT_OF_ORDER] * 3 + [NONE] * 5
    assert [answer.base_offset for answer in answers] == [-1, -1, -1, 3, 4, 5, 6, 7]
    assert end_offset(wire, topic) == 8


def test_a_producer_that_has_expired(tmp_path: Path) -> None:
    """One without transactions may go on anywhere; one with transactions of version 2 never needs to."""
    settings = {"producer.id.expiration.ms": "1", "producer.id.expiration.check.interval.ms": "50"}
    with Broker(tmp_path / "d", settings) as broker, Wire(broker.bootstrap) as wire:
        create_topic(wire, "t")

        def nobody_is_known() -> bool:
            topics = [{"name": "t", "partition_indexes": [0]}]
            return not wire.ask(61, 0, topics=topics).topics[0].partitions[0].active_producers

        transactional = TransactionalProducerV2(wire, "t", "t")
        first = transactional.write()
        transactional.end(commit=True)
        plain = produce(wire, "t", batch(0)).base_offset
        eventually(nobody_is_known, "the producers do not expire")
        transactional._sequences[0] = 1
        assert transactional.send(transactional.batch()).error_code is OUT_OF_ORDER
        transactional._sequences[0] = 0
        second = transactional.write()
        transactional.end(commit=True)
        after = produce(wire, "t", batch(5)).base_offset
        eventually(lambda: seen(wire, "t") == [first, plain, second, after], "something is missing")


def test_a_transactional_id_that_has_expired(tmp_path: Path) -> None:
    settings = {"transaction.remove.expired.transaction.cleanup.interval.ms": "50"}
    with BrokerWithFaults(tmp_path / "d", settings) as broker, Wire(broker.bootstrap) as wire:
        create_topic(wire, "t")
        producer = TransactionalProducerV2(wire, "id", "t")
        producer.write()
        producer.end(commit=True)
        broker.faults.set(clock_skew_ms=8 * DAY_MS)
        eventually(lambda: not wire.ask(66, 1).transaction_states, "the id does not expire")
        broker.faults.set()
        unknown = ErrorCode.invalid_producer_id_mapping
        assert producer.send(producer.batch()).error_code is unknown
        assert producer.ask_to_end(commit=False).error_code is unknown
        heir = TransactionalProducerV2(wire, "id", "t")
        assert heir.producer_id != producer.producer_id
        assert producer.ask_to_end(commit=True).error_code is unknown
