"""The lines of `millstream log dump`, as kafka-dump-log 4.3.1 prints them for the same files."""

import uuid
from pathlib import Path

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from support.batches import make_batch

from broker.log.config import LogConfig, TimestampType
from broker.log.dump import dump
from broker.log.inspect import NotALog, inspect_partition
from broker.log.manager import LogManager
from broker.log.repair import Way, perform, plan_repair
from broker.wire.batch import BatchHeader
from broker.wire.markers import TransactionMarker

NOW = 10_000


def transactional(sequence: int) -> bytearray:
    return make_batch(1, producer_id=18, producer_epoch=0, sequence=sequence, transactional=True)


def keyed() -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 1, 0, -1, -1, -1, 1 << 20)
    headers = [("h", b"x"), ("n", None)]
    for number, (key, value) in enumerate([(b"k0", b"v" * 99), ("ü".encode(), None), (b"\xff", b"")]):
        assert builder.append(number, 1000 + number, key, value, headers if number == 0 else []) is not None
    return bytearray(builder.build())


@pytest.fixture
def partition(tmp_path: Path) -> Path:
    """A compressed batch, a committed and an aborted transaction, an open one; cleanly closed."""
    manager = LogManager(tmp_path)
    log = manager.create("t", uuid.UUID(int=5), 0, LogConfig(index_interval_bytes=1))
    manager.finish_start()
    log.append(memoryview(keyed()), NOW)
    for sequence, is_commit in enumerate([True, False]):
        log.append(memoryview(transactional(sequence)), NOW)
        log.append_marker(TransactionMarker(18, 0, 4, is_commit), NOW)
    log.append(memoryview(transactional(2)), NOW)
    manager.close()
    return tmp_path / "t-0"


def file(partition: Path, suffix: str) -> Path:
    (found,) = partition.glob(f"*{suffix}")
    return found


def test_batches_and_records(partition: Path) -> None:
    segment = file(partition, ".log")
    content = segment.read_bytes()
    head, start, *lines = dump(segment, print_data_log=True)
    assert (head, start) == (f"Dumping {segment}", "Log starting offset: 0")
    first = BatchHeader(content)
    assert lines[0] == (
        "baseOffset: 0 lastOffset: 2 count: 3 baseSequence: -1 lastSequence: -1 producerId: -1 "
        "producerEpoch: -1 partitionLeaderEpoch: 0 isTransactional: false isControl: false "
        "deleteHorizonMs: OptionalLong.empty position: 0 CreateTime: 1002 "
        f"size: {first.batch_bytes} magic: 2 compresscodec: gzip crc: {first.crc} isvalid: true"
    )
    assert lines[1:4] == [
        f"| offset: 0 CreateTime: 1000 keySize: 2 valueSize: 99 sequence: -1 headerKeys: [h,n] key: k0 "
        f"payload: {'v' * 99}",
        "| offset: 1 CreateTime: 1001 keySize: 2 valueSize: -1 sequence: -1 headerKeys: [] key: ü",
        "| offset: 2 CreateTime: 1002 keySize: 1 valueSize: 0 sequence: -1 headerKeys: [] key: \ufffd "
        "payload: ",
    ]
    sent, sent_record, commit, commit_record, _, aborted_record, _, abort_record, *_ = lines[4:]
    assert sent.startswith(
        "baseOffset: 3 lastOffset: 3 count: 1 baseSequence: 0 lastSequence: 0 producerId: 18 "
        "producerEpoch: 0 partitionLeaderEpoch: 0 isTransactional: true isControl: false "
    )
    assert sent_record.endswith("sequence: 0 headerKeys: [] payload: value-0")
    assert "baseSequence: -1 lastSequence: -1 producerId: 18" in commit
    assert "isTransactional: true isControl: true" in commit
    assert commit_record == (
        f"| offset: 4 CreateTime: {NOW} keySize: 4 valueSize: 6 sequence: -1 headerKeys: [] "
        "endTxnMarker: COMMIT coordinatorEpoch: 4"
    )
    assert "sequence: 1 " in aborted_record
    assert abort_record.endswith("endTxnMarker: ABORT coordinatorEpoch: 4")
    assert [line for line in lines if not line.startswith("|")] == list(dump(segment))[2:]


def test_times_that_the_broker_has_set(tmp_path: Path) -> None:
    manager = LogManager(tmp_path)
    config = LogConfig(timestamp_type=TimestampType.LOG_APPEND_TIME)
    log = manager.create("t", uuid.UUID(int=5), 0, config)
    manager.finish_start()
    log.append(memoryview(make_batch(2)), NOW)
    _, _, batch, *records = dump(tmp_path / "t-0", print_data_log=True)
    assert f" LogAppendTime: {NOW} size: " in batch
    assert all(f" LogAppendTime: {NOW} keySize: " in record for record in records)


def test_indexes_and_snapshots(partition: Path) -> None:
    content = file(partition, ".log").read_bytes()
    positions, at = {}, 0
    while at < len(content):
        header = BatchHeader(content, at)
        positions[header.base_offset] = at
        at += header.batch_bytes
    # Kafka's rule of thumb: the first batch of a segment needs no entry.
    assert list(dump(file(partition, ".index")))[1:] == [
        f"offset: {offset} position: {position}" for offset, position in positions.items() if offset > 0
    ]
    assert list(dump(file(partition, ".timeindex")))[1:] == [
        "timestamp: 1002 offset: 0", f"timestamp: {NOW} offset: 4"
    ]  # fmt: skip
    assert list(dump(file(partition, ".txnindex")))[1:] == [
        "version: 0 producerId: 18 firstOffset: 5 lastOffset: 6 lastStableOffset: 7"
    ]
    snapshot = list(dump(file(partition, ".snapshot")))[1:]
    assert len(snapshot) == 3
    assert snapshot[-1].startswith(
        "producerId: 18 producerEpoch: 0 coordinatorEpoch: 4 currentTxnFirstOffset: OptionalLong[7] "
    )
    assert "firstSequence: 2 lastSequence: 2 lastOffset: 7 offsetDelta: 0 timestamp: 1000" in snapshot[-1]


@pytest.mark.parametrize("at", [0, 9, 17, 25, 33])
def test_an_index_of_aborted_transactions_is_checked(partition: Path, at: int) -> None:
    assert inspect_partition(partition).is_intact
    index = file(partition, ".txnindex")
    content = bytearray(index.read_bytes())
    content[at] ^= 1
    index.write_bytes(content)
    (found,) = inspect_partition(partition).derived
    assert found.file == index
    if at == 0:
        index.unlink()
    plan = plan_repair(inspect_partition(partition), Way.CUT)
    assert plan is not None
    assert perform(plan, partition.parent / "originals").is_intact
    again = LogManager(partition.parent)
    log = again.create("t", uuid.UUID(int=5), 0, LogConfig(index_interval_bytes=1))
    assert [a.first_offset for a in log.aborted_transactions(0, 100)] == [5]


def test_damage_is_shown_and_what_follows_it_too(partition: Path) -> None:
    segment = file(partition, ".log")
    content = bytearray(segment.read_bytes())
    size = BatchHeader(content).batch_bytes
    content[size + 16] = 1  # the magic of the second batch
    content[70] ^= 1  # a record of the first one
    segment.write_bytes(content)
    _, _, first, second, *rest = dump(segment, print_data_log=True)
    assert "isvalid: false problem: stored crc" in first
    assert second.startswith(f"position: {size} size: {len(transactional(0))} isvalid: false problem: ")
    assert rest[0].startswith("baseOffset: 4 ")


def test_what_is_no_file_of_a_log_is_refused(partition: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing", partition / "partition.metadata"):
        with pytest.raises(NotALog):
            list(dump(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotALog, match="no segments"):
        list(dump(tmp_path / "empty"))
