"""Transactions and housekeeping while the wall clock jumps, and while a process stops for longer than a
transaction may take."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.eventually import eventually
from support.faulty_broker import BrokerWithFaults
from support.kafka_wire import Wire
from support.raw_kafka import create_topic, fetch, produce
from support.raw_transactions import TransactionalProducer, TransactionalProducerV2
from support.read_committed import read_committed_over

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DEADLINE_S = 60
QUIET = {"log_level": 0}
NONE = ErrorCode.none

PAUSED_PRODUCER = """
import sys
from confluent_kafka import KafkaException, Producer
producer = Producer({"bootstrap.servers": sys.argv[1], "transactional.id": "id", "linger.ms": 0,
                     "transaction.timeout.ms": 1000, "log_level": 0})
producer.init_transactions(30)
producer.begin_transaction()
producer.produce("t", b"of the paused one")
producer.flush(30)
print("written", flush=True)
sys.stdin.readline()
try:
    producer.commit_transaction(30)
    print("committed", flush=True)
except KafkaException as exc:
    print("refused" if exc.args[0].fatal() or exc.args[0].txn_requires_abort() else exc, flush=True)
"""
"""A program that writes in a transaction, says so, and commits when it is told to."""


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[BrokerWithFaults]:
    settings = {
        "log.retention.check.interval.ms": "50", "log.cleaner.backoff.ms": "50",
        "log.segment.bytes": "1048576", "log.segment.delete.delay.ms": "0",
        "transaction.remove.expired.transaction.cleanup.interval.ms": "50",
        "producer.id.expiration.check.interval.ms": "50", "offsets.retention.check.interval.ms": "50",
    }  # fmt: skip
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        yield broker


def state(wire: Wire, transactional_id: str) -> str:
    (found,) = wire.ask(65, 0, transactional_ids=[transactional_id]).transaction_states
    return str(found.transaction_state)


@pytest.mark.parametrize("skew_ms", [HOUR_MS, -HOUR_MS])
@pytest.mark.parametrize("version", [TransactionalProducer, TransactionalProducerV2], ids=["v1", "v2"])
def test_an_open_transaction_outlives_a_jump_of_the_clock(
    faulty: BrokerWithFaults, skew_ms: int, version: type[TransactionalProducer]
) -> None:
    """Its time is counted by a clock that does not jump; and when it is up, it is up."""
    with Wire(faulty.bootstrap) as wire:
        create_topic(wire, "t")
        steady, late = version(wire, "steady", "t"), version(wire, "late", "t", timeout_ms=1500)
        written = [steady.write()]
        faulty.faults.set(clock_skew_ms=skew_ms)
        written.append(steady.write())
        late.write()
        eventually(lambda: state(wire, "late") == "CompleteAbort", "the transaction has no end")
        assert state(wire, "steady") == "Ongoing"
        faulty.faults.set()
        written.append(steady.write())
        steady.end(commit=True)
        eventually(lambda: read_committed_over(wire, "t") == written, "it is not committed")


def start_offset(wire: Wire, topic: str) -> int:
    topics = [{"name": topic, "partitions": [{"partition_index": 0, "timestamp": -2}]}]
    return int(wire.ask(2, 7, replica_id=-1, topics=topics).topics[0].partitions[0].offset)


def test_housekeeping_goes_on_and_deletes_nothing_young(faulty: BrokerWithFaults) -> None:
    """What is older than the retention by either clock goes, what is younger by both stays."""
    now_ms = int(time.time() * 1000)
    with Wire(faulty.bootstrap) as wire:
        create_topic(wire, "young", retention_ms=str(3 * HOUR_MS), segment_bytes="1048576")
        create_topic(wire, "stamped", retention_ms=str(3 * HOUR_MS), message_timestamp_type="LogAppendTime")

        def write(topic: str, age_ms: int = 0) -> None:
            batch = make_batch([bytes(600_000)], timestamps=[now_ms - age_ms])
            assert produce(wire, topic, bytes(batch)).error_code is NONE

        for number, skew_ms in enumerate((0, HOUR_MS, -HOUR_MS, 0)):
            faulty.faults.set(clock_skew_ms=skew_ms)
            write("young")
            write("stamped")
            # Housekeeping has been there when something that is old by any of the clocks is gone.
            old = f"old-{number}"
            create_topic(wire, old, retention_ms=str(3 * HOUR_MS), segment_bytes="1048576")
            for _ in range(3):
                write(old, age_ms=DAY_MS)
            eventually(lambda old=old: start_offset(wire, old) == 3, "nothing is deleted")  # type: ignore[misc]
            assert (start_offset(wire, "young"), start_offset(wire, "stamped")) == (0, 0)


def test_compaction_goes_on_and_keeps_the_newest_values(faulty: BrokerWithFaults) -> None:
    """A tombstone that may stay for two hours is there after an hour's jump back and forth."""
    with Wire(faulty.bootstrap) as wire:
        create_topic(
            wire, "t", cleanup_policy="compact", segment_ms="1", min_cleanable_dirty_ratio="0.0",
            delete_retention_ms=str(2 * HOUR_MS),
        )  # fmt: skip

        def write(value: bytes | None, key: bytes) -> None:
            now_ms = int(time.time() * 1000)
            batch = make_batch([value], keys=[key], timestamps=[now_ms])
            assert produce(wire, "t", bytes(batch)).error_code is NONE
            time.sleep(0.003)  # the next one goes to a new segment

        def content() -> bytes:
            found, offset = b"", 0
            while True:
                (partition,) = fetch(wire, "t", {0: offset}).responses[0].partitions
                if not partition.records:
                    return found
                found += partition.records
                offset = 1 + last_offset(partition.records)

        write(None, b"gone")
        for skew_ms in (0, HOUR_MS, -HOUR_MS, 0):
            faulty.faults.set(clock_skew_ms=skew_ms)
            for number in range(3):
                write(b"value %d at %d" % (number, skew_ms), b"key")
            write(b"other", b"other")
            old = b"value 1 at %d" % skew_ms
            eventually(lambda old=old: old not in content(), f"nothing is compacted at {skew_ms}")  # type: ignore[misc]
            assert b"value 2 at %d" % skew_ms in content()
            assert b"gone" in content()


def last_offset(records: bytes) -> int:
    position = last = 0
    while position < len(records):
        last = int.from_bytes(records[position : position + 8], "big")
        last += int.from_bytes(records[position + 23 : position + 27], "big")
        position += 12 + int.from_bytes(records[position + 8 : position + 12], "big")
    return last


def test_a_producer_that_stops_for_longer_than_its_transaction(faulty: BrokerWithFaults) -> None:
    """It is aborted meanwhile, by its timeout; another one goes on; the commit of the first is refused."""
    with Wire(faulty.bootstrap) as wire:
        create_topic(wire, "t")
        paused = subprocess.Popen(
            [sys.executable, "-c", PAUSED_PRODUCER, faulty.bootstrap],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert paused.stdin is not None
        assert paused.stdout is not None
        try:
            assert paused.stdout.readline() == "written\n"
            os.kill(paused.pid, signal.SIGSTOP)
            eventually(lambda: state(wire, "id") == "CompleteAbort", "it is not aborted")
            heir = TransactionalProducer(wire, "id", "t")
            written = heir.write()
            os.kill(paused.pid, signal.SIGCONT)
            paused.stdin.write("\n")
            paused.stdin.flush()
            assert paused.stdout.readline() == "refused\n"
        finally:
            paused.kill()
            paused.communicate()
        assert read_committed_over(wire, "t") == []
        heir.end(commit=True)
        eventually(lambda: read_committed_over(wire, "t") == [written], "not what was committed")


def test_a_broker_that_stops_for_longer_than_transactions(faulty: BrokerWithFaults) -> None:
    """Each is there in full or not at all, as its producer was told."""
    with Wire(faulty.bootstrap) as wire:
        create_topic(wire, "t", 2)
    committed: list[bytes] = []
    stops = 0
    number = 0
    while stops < 2:
        producer = Producer(
            {"bootstrap.servers": faulty.bootstrap, "transactional.id": "id", "linger.ms": 0,
             "transaction.timeout.ms": 1000} | QUIET
        )  # fmt: skip
        try:
            producer.init_transactions(DEADLINE_S)
            while stops < 2:
                number += 1
                producer.begin_transaction()
                producer.produce("t", b"%d" % number, partition=0)
                if number % 5 == 0:
                    producer.flush(DEADLINE_S)
                    os.kill(faulty.pid, signal.SIGSTOP)
                    time.sleep(1.5)  # longer than the transaction may take
                    os.kill(faulty.pid, signal.SIGCONT)
                    stops += 1
                producer.produce("t", b"%d" % number, partition=1)
                producer.commit_transaction(DEADLINE_S)
                committed.append(b"%d" % number)
        except KafkaException as exc:
            if not exc.args[0].fatal() and not exc.args[0].txn_requires_abort():  # it took too long
                raise
    with Wire(faulty.bootstrap) as wire:
        eventually(lambda: state(wire, "id") in ("CompleteCommit", "CompleteAbort"), "it does not end")
    assert [read_all(faulty.bootstrap, partition) for partition in (0, 1)] == [committed, committed]


def read_all(bootstrap: str, partition: int) -> list[bytes]:
    settings = {"bootstrap.servers": bootstrap, "group.id": "check", "isolation.level": "read_committed"}
    consumer = Consumer(settings | {"enable.partition.eof": True} | QUIET)
    consumer.assign([TopicPartition("t", partition, 0)])
    values: list[bytes] = []
    while True:
        message = consumer.poll(DEADLINE_S)
        assert message is not None
        if message.error():
            consumer.close()
            return values
        values.append(message.value() or b"")
