"""What a partition accepts of a producer, as Kafka 4.3.1 does."""

from pathlib import Path

import pytest
from support.batches import make_batch

from broker.log.producer_snapshot import read_snapshot, write_snapshot
from broker.log.producers import ProducerStates, SequencedBatch
from broker.log.transactions import IndexChecksum, TransactionMarker
from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError
from broker.wire.markers import marker_batch

PRODUCER = 7
NOW = 1000


class Partition:
    """Producer states, and the log's end that they are about."""

    def __init__(self) -> None:
        self.producers = ProducerStates()
        self.end = 0

    def write(
        self,
        sequence: int,
        count: int = 1,
        *,
        producer_id: int = PRODUCER,
        epoch: int = 0,
        transactional: bool = False,
        must_begin: bool = False,
        now_ms: int = NOW,
    ) -> int:
        """The base offset of the batch, or of the one that it repeats. Raises KafkaError."""
        batch = make_batch(
            count,
            producer_id=producer_id,
            producer_epoch=epoch,
            sequence=sequence,
            transactional=transactional,
        )
        header = BatchHeader(batch)
        duplicate = self.producers.check(header, must_begin=must_begin)
        if duplicate is not None:
            return duplicate.base_offset
        header.base_offset = self.end
        self.end += count
        self.producers.add(header, now_ms)
        return header.base_offset

    def mark(
        self, epoch: int = 0, *, is_commit: bool = False, coordinator_epoch: int = 0, version: int = 0
    ) -> tuple[int, int, int] | None:
        """First offset, last offset and last stable offset of what was aborted. Raises KafkaError."""
        marker = TransactionMarker(PRODUCER, epoch, coordinator_epoch, is_commit, version)
        self.producers.check_marker(marker)
        header = BatchHeader(marker_batch(marker, NOW))
        header.base_offset = self.end
        self.end += 1
        aborted = self.producers.add_marker(marker, header, NOW)
        if aborted is None:
            return None
        return aborted.first_offset, aborted.last_offset, aborted.last_stable_offset


@pytest.fixture
def partition() -> Partition:
    return Partition()


def refused(code: ErrorCode) -> "pytest.RaisesExc[KafkaError]":
    return pytest.raises(KafkaError, check=lambda error: error.code is code)


OUT_OF_ORDER = ErrorCode.out_of_order_sequence_number
OLD_EPOCH = ErrorCode.invalid_producer_epoch


def test_an_unknown_producer_may_start_anywhere_unless_it_must_begin(partition: Partition) -> None:
    assert partition.write(5) == 0
    with refused(OUT_OF_ORDER):
        partition.write(5, producer_id=8, must_begin=True)
    assert partition.write(0, producer_id=8, must_begin=True) == 1
    assert partition.write(1, producer_id=8, must_begin=True) == 2


def test_sequences_have_no_gaps_and_the_last_five_batches_are_repeatable(partition: Partition) -> None:
    for number in range(7):
        partition.write(2 * number, 2)
    for number in range(2, 7):
        assert partition.write(2 * number, 2) == 2 * number
    for sequence, count in ((2, 2), (15, 1), (13, 1), (12, 1), (10, 4)):
        with refused(OUT_OF_ORDER):
            partition.write(sequence, count)
    assert partition.write(14) == 14


def test_sequences_wrap_around(partition: Partition) -> None:
    partition.write(2**31 - 3, 2)
    assert partition.write(2**31 - 1, 3) == 2
    assert partition.write(2**31 - 1, 3) == 2
    with refused(OUT_OF_ORDER):
        partition.write(0)
    assert partition.write(2) == 5
    partition.write(2**31 - 1, producer_id=8)
    assert partition.write(0, producer_id=8) == 7


def test_a_new_epoch_starts_with_sequence_0_and_fences_the_old_one(partition: Partition) -> None:
    partition.write(0, 5)
    with refused(OUT_OF_ORDER):
        partition.write(5, epoch=1)
    assert partition.write(0, epoch=1) == 5
    with refused(OLD_EPOCH):
        partition.write(5)


def test_a_batch_outside_of_the_open_transaction_is_refused(partition: Partition) -> None:
    partition.write(0, transactional=True)
    with refused(ErrorCode.invalid_txn_state):
        partition.write(1)
    assert partition.write(1, transactional=True) == 1
    partition.mark()
    assert partition.write(2) == 3


def test_the_first_open_offset_is_that_of_the_oldest_open_transaction(partition: Partition) -> None:
    producers = partition.producers
    assert producers.first_open_offset is None
    partition.write(0)
    partition.write(1, transactional=True)
    partition.write(0, 3, producer_id=8, transactional=True)
    partition.write(2, transactional=True)
    assert (producers.first_open_offset, producers.open_transaction(8)) == (1, 2)
    assert partition.mark(is_commit=True) is None
    assert producers.first_open_offset == 2
    partition.write(3, transactional=True)
    assert partition.mark() == (7, 8, 2)
    assert producers.open_transaction(PRODUCER) is None


def test_a_marker_of_version_2_brings_the_next_epoch(partition: Partition) -> None:
    partition.write(0, 3, transactional=True)
    with refused(OLD_EPOCH):
        partition.mark(0, version=2)
    assert partition.mark(1, version=2) == (0, 3, 4)
    with refused(OLD_EPOCH):
        partition.write(3, transactional=True)
    with refused(OUT_OF_ORDER):
        partition.write(3, epoch=1, transactional=True)
    # The coordinator does not know whether it was written, and writes it once more.
    assert partition.mark(1, version=2) is None
    assert partition.write(0, epoch=1, transactional=True) == 5
    with refused(OLD_EPOCH):
        partition.mark(1, version=2)


def test_a_marker_of_version_1_keeps_epoch_and_sequences(partition: Partition) -> None:
    partition.write(0, 3, transactional=True)
    assert partition.mark(0) == (0, 3, 4)
    assert partition.mark(0) is None
    assert partition.write(3, transactional=True) == 5
    partition.mark(1)
    for version in (0, 2):
        with refused(OLD_EPOCH):
            partition.mark(0, version=version)


def test_a_zombie_coordinator_is_fenced(partition: Partition) -> None:
    partition.write(0, transactional=True)
    partition.mark(coordinator_epoch=3)
    with refused(ErrorCode.transaction_coordinator_fenced):
        partition.mark(coordinator_epoch=2)
    partition.mark(coordinator_epoch=3)
    partition.mark(coordinator_epoch=4)


def test_a_marker_makes_an_unknown_producer_known(partition: Partition) -> None:
    assert partition.mark(5, coordinator_epoch=2) is None
    producer = partition.producers.get(PRODUCER)
    assert producer is not None
    assert (producer.producer_epoch, producer.coordinator_epoch, producer.last_sequence) == (5, 2, -1)
    with refused(OUT_OF_ORDER):
        partition.write(1, epoch=5)
    assert partition.write(0, epoch=5) == 1


def test_producers_expire_but_not_with_an_open_transaction(partition: Partition) -> None:
    partition.write(0, transactional=True)
    partition.write(0, producer_id=8)
    partition.write(0, producer_id=9, now_ms=NOW + 1)
    partition.producers.expire(NOW - 1)
    assert len(partition.producers) == 3
    partition.producers.expire(NOW)
    assert [producer_id for producer_id, _ in partition.producers] == [PRODUCER, 9]
    partition.mark()
    partition.producers.expire(NOW)
    assert partition.producers.get(PRODUCER) is None
    assert partition.write(17, producer_id=8) == 4


def test_a_snapshot_holds_all_of_it(partition: Partition, tmp_path: Path) -> None:
    for number in range(7):
        partition.write(2 * number, 2, transactional=number > 3)
    partition.write(0, producer_id=3, epoch=9, transactional=True)
    partition.write(0, producer_id=4)
    partition.mark(1, coordinator_epoch=6, version=2)
    partition.write(0, epoch=1, transactional=True)
    path = tmp_path / "x.snapshot"
    checksums = {0: IndexChecksum(3, 77), 500: IndexChecksum(1, 2**32 - 1)}
    write_snapshot(path, partition.producers, checksums)
    restored = ProducerStates()
    assert read_snapshot(path, restored) == checksums
    assert dict(restored) == dict(partition.producers)
    assert restored.first_open_offset == partition.producers.first_open_offset == 14
    assert [restored.open_transaction(i) for i in (3, 4, PRODUCER)] == [14, None, 17]
    producer = restored.get(PRODUCER)
    assert producer is not None
    assert list(producer.batches) == [SequencedBatch(0, 0, 17, 17, 1000)]


@pytest.mark.parametrize("position", range(60))
def test_a_damaged_snapshot_is_noticed(partition: Partition, tmp_path: Path, position: int) -> None:
    partition.write(0)
    path = tmp_path / "x.snapshot"
    write_snapshot(path, partition.producers, {})
    damaged = bytearray(path.read_bytes())
    damaged[position] ^= 0x10
    path.write_bytes(damaged)
    assert read_snapshot(path, partition.producers) is None
    assert len(partition.producers) == 0
    path.write_bytes(damaged[:position])
    assert read_snapshot(path, partition.producers) is None
