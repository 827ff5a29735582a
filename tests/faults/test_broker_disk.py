"""The disk fails, is full, is slow, or the process is killed between any two operations on it.

Every acknowledged record has to be readable once, at its offset, with its bytes, and the high watermark never
goes back.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kio.schema.errors import ErrorCode
from support.batches import make_batch
from support.faulty_broker import BrokerWithFaults
from support.raw_kafka import RawKafka, create_topic, fetch, produce, produce_body

from connect.testing.child import ChildFailed
from connect.testing.millstream import Broker

KILL_POINTS = 24
SEGMENT_BYTES = str(1024 * 1024)


@pytest.fixture
def faulty(tmp_path: Path) -> Iterator[BrokerWithFaults]:
    settings = {"log.flush.offset.checkpoint.interval.ms": "200", "log.segment.bytes": SEGMENT_BYTES}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        yield broker


def test_a_failed_sync_is_fatal_for_that_log_and_for_no_other(faulty: BrokerWithFaults) -> None:
    with RawKafka(faulty.bootstrap) as client:
        create_topic(client, "bad")
        create_topic(client, "good")
        assert produce(client, "bad", bytes(make_batch([b"kept"]))).error_code == ErrorCode.none
        faulty.faults.set(path="/bad-0", fail={"fdatasync": "EIO"})
        assert (
            produce(client, "bad", bytes(make_batch([b"lost"]))).error_code == ErrorCode.kafka_storage_error
        )
        faulty.faults.set()
        # The kernel forgets a page that it could not write: the next sync would succeed, and mean nothing.
        again = produce(client, "bad", bytes(make_batch([b"more"])))
        assert again.error_code == ErrorCode.kafka_storage_error
        (topic,) = fetch(client, "bad", {0: 0}).responses
        assert topic.partitions[0].error_code == ErrorCode.kafka_storage_error
        assert produce(client, "good", bytes(make_batch())).error_code == ErrorCode.none
    faulty.kill()
    faulty.start()
    with RawKafka(faulty.bootstrap) as client:
        (topic,) = fetch(client, "bad", {0: 0}).responses
        assert topic.partitions[0].error_code == ErrorCode.none
        assert b"kept" in topic.partitions[0].records
        assert produce(client, "bad", bytes(make_batch())).error_code == ErrorCode.none


@pytest.mark.parametrize(
    ("operation", "error"), [("pwrite", "ENOSPC"), ("pwrite", "EIO"), ("open", "ENOSPC"), ("open", "EMFILE")]
)
def test_what_cannot_be_written_is_refused_and_nothing_is_lost(
    faulty: BrokerWithFaults, operation: str, error: str
) -> None:
    """A roll needs a new file, so that `open` fails, too."""
    batch = bytes(make_batch([bytes(300_000)]))
    with RawKafka(faulty.bootstrap) as client:
        create_topic(client, "t")
        acked = [produce(client, "t", batch).base_offset for _ in range(3)]
        assert acked == [0, 1, 2]
        faulty.faults.set(path="/t-0", fail={operation: error})
        for _ in range(2):
            answer = produce(client, "t", batch)
            assert (answer.error_code, answer.base_offset) == (ErrorCode.kafka_storage_error, -1)
        assert read_back(client, "t") == 3
        faulty.faults.set()
        assert [produce(client, "t", batch).base_offset for _ in range(4)] == [3, 4, 5, 6]
    faulty.kill()
    faulty.start()
    with RawKafka(faulty.bootstrap) as client:
        assert read_back(client, "t") == 7


def read_back(client: RawKafka, topic: str) -> int:
    """Reads all; the high watermark, up to which every offset must be there."""
    offset, high_watermark = 0, -1
    while offset != high_watermark:
        (answered,) = fetch(client, topic, {0: offset}, partition_max_bytes=1).responses
        (partition,) = answered.partitions
        assert partition.error_code == ErrorCode.none
        high_watermark = partition.high_watermark
        if partition.records:
            assert int.from_bytes(partition.records[:8], "big") == offset
            offset += 1
        else:
            assert offset == high_watermark
    return high_watermark


def test_a_slow_disk_delays_who_waits_for_it_and_nobody_else(faulty: BrokerWithFaults) -> None:
    with RawKafka(faulty.bootstrap) as writer, RawKafka(faulty.bootstrap) as other:
        create_topic(writer, "slow")
        produce(writer, "slow", bytes(make_batch()))
        faulty.faults.set(path="/slow-0", delay_ms={"fdatasync": 4000})
        sent = writer.send(0, 9, produce_body(9, "slow", bytes(make_batch())))
        for _ in range(20):
            assert other.call(18, 0).error_code == ErrorCode.none
        assert produce(other, "slow", bytes(make_batch()), acks=1).error_code == ErrorCode.none
        writer.socket.settimeout(0.001)
        with pytest.raises(TimeoutError):
            writer.socket.recv(1)
        writer.socket.settimeout(60)
        assert writer.receive()[0] == sent


class Workload:
    """Fills segments, sees them roll, has offsets committed; notes what was acknowledged."""

    def __init__(self) -> None:
        self.acked: dict[int, bytes] = {}
        self.number = 0

    def run(self, broker: Broker, seconds: float) -> None:
        """Until the broker dies, or the time is over."""
        deadline = time.monotonic() + seconds
        with suppress(OSError), RawKafka(broker.bootstrap) as client:
            while time.monotonic() < deadline:
                value = b"%d-" % self.number + bytes(150_000)
                self.number += 1
                answer = produce(client, "t", bytes(make_batch([value])))
                assert answer.error_code == ErrorCode.none
                assert answer.base_offset not in self.acked, "an offset was given twice"
                self.acked[answer.base_offset] = value

    def check(self, broker: Broker) -> None:
        with RawKafka(broker.bootstrap) as client:
            for offset, value in self.acked.items():
                (answered,) = fetch(client, "t", {0: offset}, partition_max_bytes=1).responses
                (partition,) = answered.partitions
                assert partition.error_code == ErrorCode.none, f"offset {offset}"
                assert partition.high_watermark > max(self.acked)
                assert int.from_bytes(partition.records[:8], "big") == offset
                assert value in partition.records


def test_a_kill_at_any_operation_on_the_disk(tmp_path: Path) -> None:
    """At operation after operation of a run that writes, syncs, rolls, checkpoints, and starts again."""
    settings = {"log.flush.offset.checkpoint.interval.ms": "100", "log.segment.bytes": SEGMENT_BYTES}
    with BrokerWithFaults(tmp_path / "d", settings) as broker:
        with RawKafka(broker.bootstrap) as client:
            create_topic(client, "t")
        workload = Workload()
        for kill in range(KILL_POINTS):
            done = int(broker.faults.counted.read_text() or 0)
            broker.faults.set(kill_at=done + 1 + 3 * kill % 41, kill_after=bool(kill % 2))
            workload.run(broker, seconds=60)
            assert broker.child.process.wait(60) != 0, "it was not killed"
            # The first operations of the next start are killed, too, now and then.
            broker.faults.set(**({"kill_at": 1 + kill % 7} if kill % 3 == 0 else {}))
            with suppress(ChildFailed):
                broker.start()
            broker.faults.set()
            if broker.child.process.poll() is not None:
                broker.start()
            workload.check(broker)
        assert len(workload.acked) > KILL_POINTS
