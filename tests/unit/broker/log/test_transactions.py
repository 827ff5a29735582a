"""Transactions in one partition's log, and what is left of them on disk."""

import errno
import itertools
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from support.batches import make_batch
from support.read_committed import headers, read_committed

from broker.log import recovery
from broker.log.config import LogConfig, TimestampType
from broker.log.partition_log import PartitionLog
from broker.log.transactions import AbortedIndex, AbortedTransaction, TransactionMarker
from broker.wire.batch import BatchHeader
from broker.wire.errors import ErrorCode, KafkaError

NOW = 2_000_000


def new_log(path: Path, **config: object) -> PartitionLog:
    return PartitionLog(path, LogConfig(**config))  # type: ignore[arg-type]


def reopened(log: PartitionLog) -> PartitionLog:
    """The log as a start after a kill finds it."""
    again = PartitionLog(log.directory, log.config)
    recovery.open_log(again, 0, clean=False)
    assert again.failure is None
    return again


class Writer:
    """One transactional producer, of one epoch."""

    def __init__(self, log: PartitionLog, producer_id: int) -> None:
        self._log = log
        self._producer_id = producer_id
        self._sequence = 0

    def write(self, count: int = 1) -> int:
        batch = make_batch(
            count,
            timestamps=[NOW] * count,
            producer_id=self._producer_id,
            producer_epoch=0,
            sequence=self._sequence,
            transactional=True,
        )
        self._sequence += count
        return self._log.append(memoryview(batch), NOW).base_offset

    def end(self, *, commit: bool) -> int:
        return self._log.append_marker(TransactionMarker(self._producer_id, 0, 0, commit), NOW).base_offset


def many_transactions(log: PartitionLog, count: int = 60) -> None:
    """Transactions of two producers that overlap; every third one aborts. The last one is open."""
    writers = [Writer(log, 1), Writer(log, 2)]
    for number in range(count):
        writer = writers[number % 2]
        if number >= 2:
            writer.end(commit=number % 3 != 0)
        writer.write(2)
        writer.write()
    writers[0].end(commit=True)


def facts(log: PartitionLog) -> tuple[object, ...]:
    """All that a reader can see, read in small and in large pieces."""
    end = log.log_end_offset
    return (
        log.last_stable_offset,
        [log.open_transaction(producer_id) for producer_id in (1, 2)],
        read_committed(log, 0, 300),
        read_committed(log, 0, 10**6),
        [log.aborted_transactions(start, start + 7) for start in range(end)],
    )


def test_the_last_stable_offset_follows_the_oldest_open_transaction(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0")
    first, second = Writer(log, 1), Writer(log, 2)
    assert log.last_stable_offset == 0
    log.append(memoryview(make_batch(2, timestamps=[NOW] * 2)), NOW)
    assert log.last_stable_offset == 2
    assert (first.write(3), second.write()) == (2, 5)
    assert (log.last_stable_offset, log.high_watermark) == (2, 6)
    assert first.end(commit=True) == 6
    assert log.last_stable_offset == 5
    assert first.write() == 7
    assert second.end(commit=False) == 8
    assert log.last_stable_offset == 7
    assert log.aborted_transactions(0, 9) == [AbortedTransaction(2, 5, 8, 7)]
    assert log.aborted_transactions(0, 5) == log.aborted_transactions(9, 20) == []


def test_a_committed_read_ends_at_the_last_stable_offset(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0")
    writer = Writer(log, 1)
    sizes = []
    for _ in range(3):
        log.append(memoryview(batch := make_batch(timestamps=[NOW])), NOW)
        sizes.append(len(batch))
    assert writer.write() == 3
    data = log.read(1, 10**6, committed=True)
    assert data is not None
    assert (data.length, data.next_offset) == (sum(sizes[1:]), 3)
    assert log.read(3, 10**6, committed=True) is None
    assert log.read(4, 10**6, committed=True) is None
    with pytest.raises(KafkaError, check=lambda error: error.code is ErrorCode.offset_out_of_range):
        log.read(5, 10**6, committed=True)
    everything = log.read(1, 10**6)
    assert everything is not None
    assert everything.next_offset == 4


def test_a_marker_is_stamped_like_any_batch(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0", timestamp_type=TimestampType.LOG_APPEND_TIME)
    Writer(log, 1).end(commit=True)
    data = log.read(0, 1000)
    assert data is not None
    ((_, header),) = headers(data.read())
    assert (header.attributes, header.max_timestamp) == (0x08 | 0x10 | 0x20, NOW)
    assert header.crc == crc32c(data.read()[21:])


def test_a_marker_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = new_log(tmp_path / "t-0")
    writer = Writer(log, 1)
    writer.write()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(KafkaError, check=lambda error: error.code is ErrorCode.kafka_storage_error):
            writer.end(commit=False)
    assert (log.open_transaction(1), log.last_stable_offset, log.log_end_offset) == (0, 0, 1)
    assert log.aborted_transactions(0, 5) == []
    assert writer.end(commit=False) == 1
    assert facts(reopened(log)) == facts(log)


def test_the_index_is_a_file_as_kafka_writes_it(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0")
    Writer(log, 3).write()
    for producer_id in (1, 2):
        writer = Writer(log, producer_id)
        writer.write()
        writer.end(commit=False)
    log.close()
    content = (log.directory / f"{0:020d}.txnindex").read_bytes()
    assert list(struct.iter_unpack(">hqqqq", content)) == [(0, 1, 1, 2, 0), (0, 2, 3, 4, 0)]


def test_a_segment_without_aborts_has_no_index_file(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0")
    writer = Writer(log, 1)
    writer.write()
    writer.end(commit=True)
    log.close()
    assert not list(log.directory.glob("*.txnindex"))


@pytest.mark.parametrize("segment_bytes", [200, 900, 10**6])
def test_a_kill_changes_nothing(tmp_path: Path, segment_bytes: int) -> None:
    log = new_log(tmp_path / "t-0", segment_bytes=segment_bytes)
    many_transactions(log)
    assert log.last_stable_offset < log.log_end_offset
    assert facts(reopened(log)) == facts(log)


class Killed(BaseException):
    """What nothing catches: the process is gone."""


def kill_at(patched: pytest.MonkeyPatch, number: int) -> None:
    """From now on, the process dies before its `number`th change on disk."""
    done = itertools.count(1)
    for owner, name in (
        (os, "pwrite"), (os, "open"), (os, "truncate"), (os, "rename"),
        (Path, "write_bytes"), (Path, "replace"), (Path, "unlink"),
    ):  # fmt: skip
        original = getattr(owner, name)

        def change(*args: Any, original: Callable[..., Any] = original, **kwargs: Any) -> Any:
            if next(done) >= number:
                raise Killed
            return original(*args, **kwargs)

        patched.setattr(owner, name, change)


def test_a_kill_at_any_change_on_disk_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in itertools.count(1):
        log = new_log(tmp_path / f"t-{number}", segment_bytes=400)
        with monkeypatch.context() as patched:
            kill_at(patched, number)
            try:
                many_transactions(log, 20)
                log.close()
                break
            except Killed:
                pass
        acknowledged = log.log_end_offset
        again = reopened(log)
        assert acknowledged <= again.log_end_offset <= acknowledged + 2
        found = facts(again)
        for path in log.directory.iterdir():
            if path.suffix in (".snapshot", ".txnindex"):
                path.unlink()
        assert facts(reopened(log)) == found, number
        shutil.rmtree(log.directory)
    assert number > 100


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "without the last entry": lambda content: content[:-34],
    "half an entry less": lambda content: content[:-17],
    "an entry more": lambda content: content + content[-34:],
    "one bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "zeros": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("suffix", [".txnindex", ".snapshot"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("clean", [True, False])
def test_helper_files_that_are_no_good_are_made_anew(
    tmp_path: Path, suffix: str, damage: str, clean: bool
) -> None:
    log = new_log(tmp_path / "t-0", segment_bytes=1500)
    many_transactions(log)
    before = facts(log)
    if clean:
        log.close()
    paths = list(log.directory.glob(f"*{suffix}"))
    assert paths
    for path in paths:
        content = DAMAGE[damage](path.read_bytes())
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    again = PartitionLog(log.directory, log.config)
    recovery.open_log(again, 0, clean=clean)
    assert again.failure is None
    assert facts(again) == before
    # What was made anew is good enough for the next start.
    again.close()
    assert facts(reopened(again)) == before


def test_a_clean_start_reads_no_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = new_log(tmp_path / "t-0", segment_bytes=1500)
    many_transactions(log)
    before = facts(log)
    log.close()

    def refuse(*_: object) -> None:
        raise AssertionError("a batch was read")

    again = PartitionLog(log.directory, log.config)
    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_replay", refuse)
        recovery.open_log(again, 0, clean=True)
    assert facts(again) == before


def test_the_index_of_a_merged_segment_is_not_taken_for_that_of_its_first_part(tmp_path: Path) -> None:
    """A kill may come after compaction has merged segments and before it has written a snapshot."""
    log = new_log(tmp_path / "t-0")
    writer = Writer(log, 1)
    for _ in range(2):
        writer.write()
        writer.end(commit=False)
        log.roll(NOW)
    before = facts(log)
    log.close()
    first, second = log.segments[:2]
    for suffix in (".log", ".txnindex"):
        parts = [s.file.path.with_suffix(suffix) for s in (first, second)]
        parts[0].write_bytes(b"".join(part.read_bytes() for part in parts))
        parts[1].unlink()
    first.file.path.with_suffix(".timeindex").unlink()
    assert facts(reopened(log)) == before


def test_a_snapshot_of_the_first_version_is_made_anew(tmp_path: Path) -> None:
    """That knew producers but no transactions."""
    log = new_log(tmp_path / "t-0")
    many_transactions(log)
    body = struct.pack(">qhqB", 1, 0, NOW, 0)
    old = struct.pack(">hIi", 1, crc32c(body), 1) + body
    (log.directory / f"{log.log_end_offset:020d}.snapshot").write_bytes(old)
    again = reopened(log)
    assert facts(again) == facts(log)
    assert len(again.producers) == 2


def test_an_open_transaction_survives_the_loss_of_its_first_segments(tmp_path: Path) -> None:
    log = new_log(tmp_path / "t-0", segment_bytes=200, retention_bytes=400)
    writer = Writer(log, 1)
    writer.write()
    for _ in range(10):
        log.append(memoryview(make_batch(timestamps=[NOW])), NOW)
    log.enforce_retention(NOW)
    assert log.log_start_offset > 0
    assert log.last_stable_offset == log.log_start_offset
    assert log.read(log.log_start_offset, 1000, committed=True) is None
    writer.end(commit=False)
    assert log.last_stable_offset == log.log_end_offset
    start = log.log_start_offset
    assert read_committed(log, start, 10**6) == list(range(start, 11))


def test_an_index_finds_what_overlaps_over_file_and_memory(tmp_path: Path) -> None:
    index = AbortedIndex(tmp_path / "x.txnindex")
    entries = [AbortedTransaction(1, 10 * n, 10 * n + 5, 10 * n + 6) for n in range(1000)]
    for number, entry in enumerate(entries):
        index.append(entry)
        if number == 700:
            index.flush()
    for start, end in ((0, 10**6), (5, 6), (6, 10), (6, 11), (6990, 7031), (9995, 10**6), (9996, 10**6)):
        expected = [e for e in entries if e.last_offset >= start and e.first_offset < end]
        found, is_complete = index.overlapping(start, end)
        assert found == expected
        assert is_complete == (start <= 9995 and end < 9996)
    index.flush()
    restored = AbortedIndex(tmp_path / "x.txnindex")
    assert restored.restore(index.checksum)
    assert restored.overlapping(0, 10**6) == index.overlapping(0, 10**6)
    index.append(AbortedTransaction(1, 10_000, 10_005, 10_006))
    assert not restored.restore(index.checksum)
    assert restored.overlapping(0, 10**6) == ([], False)


def test_an_emptied_batch_keeps_its_producer_known(tmp_path: Path) -> None:
    """Compaction leaves the last batch of a producer without records, and the markers behind it."""
    log = new_log(tmp_path / "t-0")
    writer = Writer(log, 1)
    writer.write(3)
    writer.end(commit=True)
    file = log.segments[0].file.path
    content = bytearray(file.read_bytes())
    header = BatchHeader(content)
    marker = content[header.batch_bytes :]
    struct.pack_into(">i", content, 8, 61 - 12)
    struct.pack_into(">i", content, 57, 0)
    struct.pack_into(">I", content, 17, crc32c(bytes(content[21:61])))
    file.write_bytes(bytes(content[:61]) + marker)
    again = PartitionLog(log.directory, log.config)
    recovery.open_log(again, 4, clean=False)
    assert (again.failure, again.last_stable_offset, again.log_end_offset) == (None, 4, 4)
    producer = again.producers.get(1)
    assert producer is not None
    assert producer.last_sequence == 2
