"""What compaction keeps and what it drops, on logs of real files."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.batches import make_batch, patch
from support.compaction import (
    Pairs,
    batches_of,
    committed_records,
    compact_log,
    find_cleanable,
    keyed_batch,
    newest_values,
    open_log,
    run_compaction,
    sync,
)

from broker.log.cleaner import cleanable
from broker.log.compaction import CannotCompact
from broker.log.config import LogConfig
from broker.log.partition_log import PartitionLog
from broker.log.transactions import TransactionMarker
from broker.wire.batch import BatchHeader, InvalidBatch

NOW = 10_000
CONFIG = LogConfig(compact=True, delete=False, delete_retention_ms=1000, min_cleanable_dirty_ratio=0.0)


def compacted_log(tmp_path: Path, config: LogConfig = CONFIG) -> PartitionLog:
    return open_log(tmp_path / "data", config)[1]


def write(log: PartitionLog, *batches: Pairs, **fields: object) -> None:
    for pairs in batches:
        log.append(keyed_batch(pairs, **fields), NOW)


def shown(log: PartitionLog) -> list[tuple[int, bytes, bytes | None]]:
    return [
        (r.offset, bytes(r.key or b""), None if r.value is None else bytes(r.value))
        for r in committed_records(log)
    ]


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4])
def test_of_each_key_the_newest_value_stays_at_its_offset(tmp_path: Path, codec: int) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2")], [(b"c", b"1"), (b"b", b"2")], compression=codec)
    log.roll(NOW)
    write(log, [(b"c", b"2")])
    compact_log(log)
    # The active segment is not looked at: c has two values for now.
    assert shown(log) == [(2, b"a", b"2"), (3, b"c", b"1"), (4, b"b", b"2"), (5, b"c", b"2")]
    assert {header.compression for header, _ in batches_of(log)[:2]} == {codec}
    assert log.log_end_offset == 6


def test_a_batch_that_loses_nothing_stays_as_it_is(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1"), (b"b", b"1")])
    before = bytes(batches_of(log)[0][1])
    log.roll(NOW)
    compact_log(log)
    assert bytes(batches_of(log)[0][1]) == before


def test_timestamps_and_headers_of_what_stays_are_kept(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1"), (b"b", b"1"), (b"a", b"2")], timestamps=[9000, 9005, 9001])
    write(log, [(b"b", b"2")])
    log.roll(NOW)
    compact_log(log)
    header, _ = batches_of(log)[0]
    assert [(r.offset, r.timestamp) for r in committed_records(log)] == [(2, 9001), (3, 1000)]
    assert (header.base_offset, header.last_offset, header.max_timestamp) == (0, 2, 9001)


def test_a_tombstone_stays_for_its_time(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1"), (b"b", b"1")], [(b"a", None)], [(b"c", b"1")])
    log.roll(NOW)
    clean_until = compact_log(log, now_ms=NOW)
    assert shown(log) == [(1, b"b", b"1"), (2, b"a", None), (3, b"c", b"1")]
    tombstone = batches_of(log)[1][0]
    assert tombstone.delete_horizon_ms == NOW + CONFIG.delete_retention_ms
    assert [r.timestamp for r in committed_records(log)] == [1001, 1000, 1000]

    for now_ms, stays in [(NOW + 999, True), (NOW + 1000, False)]:
        write(log, [(b"x", b"%d" % now_ms)])
        log.roll(NOW)
        clean_until = compact_log(log, clean_until, now_ms=now_ms)
        assert ((2, b"a", None) in shown(log)) is stays


def test_small_segments_are_put_together(tmp_path: Path) -> None:
    log = compacted_log(tmp_path, replace(CONFIG, segment_bytes=300))
    clean_until = 0
    for number in range(60):
        write(log, [(b"k%d" % (number % 5), b"v%d" % number)])
        if number in (30, 59):
            clean_until = compact_log(log, clean_until)
    assert newest_values(committed_records(log)) == {b"k%d" % n: b"v%d" % (55 + n) for n in range(5)}
    # Those that had become small by the first round are one after the second.
    assert len(log.segments) < 12 < 60 // 4
    assert all(segment.size <= 300 for segment in log.segments)
    assert [s.base_offset for s in log.segments] == sorted({s.base_offset for s in log.segments})


def test_records_without_a_key_go(tmp_path: Path) -> None:
    """They are from before the topic was compacted."""
    log = compacted_log(tmp_path, LogConfig())
    log.append(memoryview(make_batch(2)), NOW)
    write(log, [(b"a", b"1")])
    log.append(memoryview(make_batch(3)), NOW)
    log.roll(NOW)
    log.reconfigure(CONFIG)
    compact_log(log)
    assert shown(log) == [(2, b"a", b"1")]
    # The last batch is still there without its records: it says where the segment ends.
    assert [(h.base_offset, h.last_offset, h.records_count) for h, _ in batches_of(log)] == [
        (2, 2, 1),
        (3, 5, 0),
    ]


def test_a_small_map_takes_more_rounds_and_comes_to_the_same(tmp_path: Path) -> None:
    log = compacted_log(tmp_path, replace(CONFIG, segment_bytes=2000))
    for number in range(300):
        write(log, [(b"k%d" % (number * 7 % 50), b"v%d" % number)])
    log.roll(NOW)
    expected = newest_values(committed_records(log))
    clean_until, rounds = 0, 0
    while clean_until < log.segments[-1].base_offset:
        reached = compact_log(log, clean_until, map_bytes=24 * 30)
        assert reached > clean_until
        clean_until, rounds = reached, rounds + 1
    assert rounds > 5
    records = committed_records(log)
    assert newest_values(records) == expected
    assert len(records) == 50


def test_a_batch_that_does_not_fit_the_map_is_told(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"%d" % number, b"") for number in range(40)])
    log.roll(NOW)
    with pytest.raises(CannotCompact, match=r"log\.cleaner\.dedupe\.buffer\.size"):
        run_compaction(log, find_cleanable(log), now_ms=0, map_bytes=24 * 30)


def test_damage_is_found_and_nothing_changed(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1")], [(b"a", b"2")])
    log.roll(NOW)
    path = log.segments[0].file.path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InvalidBatch, match="crc"):
        run_compaction(log, find_cleanable(log), now_ms=0)
    assert path.read_bytes() == damaged


# --- producers and transactions ---


def marker(log: PartitionLog, producer_id: int, *, is_commit: bool, producer_epoch: int = 0) -> None:
    log.append_marker(TransactionMarker(producer_id, producer_epoch, 0, is_commit), NOW)


def test_the_last_batch_of_a_producer_stays_without_its_records(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    fields = {"producer_id": 5, "producer_epoch": 0}
    write(log, [(b"a", b"1"), (b"b", b"1")], sequence=0, **fields)
    write(log, [(b"a", b"2"), (b"b", b"2")], sequence=2, **fields)
    write(log, [(b"a", b"3"), (b"b", b"3")])
    log.roll(NOW)
    compact_log(log)
    kept = [header for header, _ in batches_of(log) if header.producer_id == 5]
    assert [(h.base_offset, h.last_offset, h.base_sequence, h.records_count) for h in kept] == [(2, 3, 2, 0)]
    (log.directory / f"{log.log_end_offset:020d}.snapshot").unlink()
    again = open_log(tmp_path / "data", CONFIG)[1]
    repeated = keyed_batch([(b"a", b"2"), (b"b", b"2")], sequence=2, **fields)
    assert again.append(repeated, NOW).base_offset == 2


def test_aborted_records_go_and_their_marker_later(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    fields = {"producer_id": 5, "producer_epoch": 0, "transactional": True}
    write(log, [(b"a", b"committed")])
    write(log, [(b"a", b"aborted")], sequence=0, **fields)
    marker(log, 5, is_commit=False)
    write(log, [(b"b", b"committed")], sequence=1, **fields)
    marker(log, 5, is_commit=True)
    log.roll(NOW)
    table = {b"a": b"committed", b"b": b"committed"}

    def kept_offsets() -> list[int]:
        assert newest_values(committed_records(log)) == table
        return [header.base_offset for header, _ in batches_of(log)]

    clean_until = compact_log(log, now_ms=NOW)
    assert kept_offsets() == [0, 2, 3, 4]  # the marker ended something in this round
    assert len(log.aborted_transactions(0, log.log_end_offset)) == 1
    for number, (now_ms, abort_marker_stays) in enumerate(
        [(NOW, True), (NOW + 999, True), (NOW + 1000, False)]
    ):
        table[b"x"] = b"%d" % number
        write(log, [(b"x", b"%d" % number)])
        log.roll(NOW)
        clean_until = compact_log(log, clean_until, now_ms=now_ms)
        assert (2 in kept_offsets()) is abort_marker_stays
        assert log.aborted_transactions(0, log.log_end_offset) == []
    # The commit marker of a transaction that has records is kept.
    assert 4 in kept_offsets()


def test_an_abort_that_was_cleaned_before_is_not_taken_for_one_of_now(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    fields = {"producer_id": 5, "producer_epoch": 0, "transactional": True}
    write(log, [(b"b", b"old")])
    write(log, [(b"a", b"aborted")], sequence=0, **fields)
    marker(log, 5, is_commit=False)
    log.roll(NOW)
    clean_until = compact_log(log, now_ms=NOW)
    write(log, [(b"b", b"new")], sequence=1, **fields)
    marker(log, 5, is_commit=True)
    log.roll(NOW)
    compact_log(log, clean_until, now_ms=NOW)
    assert [record[2] for record in shown(log)] == [b"new"]


def test_an_open_transaction_stops_compaction(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1")], [(b"a", b"2")])
    log.roll(NOW)
    write(log, [(b"a", b"open")], producer_id=5, producer_epoch=0, sequence=0, transactional=True)
    log.roll(NOW)
    write(log, [(b"a", b"3")])
    log.roll(NOW)
    assert [s.base_offset for s in find_cleanable(log).segments] == [0]
    marker(log, 5, is_commit=True)
    assert [s.base_offset for s in find_cleanable(log).segments] == [0, 2, 3]


# --- when ---


def test_what_is_cleanable(tmp_path: Path) -> None:
    config = LogConfig(compact=True, delete=False, min_cleanable_dirty_ratio=0.5, min_compaction_lag_ms=100)
    log = compacted_log(tmp_path, config)
    for timestamp in (1000, 1100, 1200, 1300):
        write(log, [(b"a", b"1")], timestamps=[timestamp])
        log.roll(timestamp)
    assert cleanable(log, 0, 1 << 40) is None, "nothing is synced"
    sync(log)

    def found(clean_until: int, now_ms: int) -> list[int] | None:
        result = cleanable(log, clean_until, now_ms)
        return None if result is None else [segment.base_offset for segment in result.segments]

    assert found(0, 1 << 40) == [0, 1, 2, 3]
    assert found(0, 1250) == [0, 1], "the others are too young"
    assert found(1, 1 << 40) == [0, 1, 2, 3]
    assert found(2, 1 << 40) is None, "half of it is not more than half"
    assert found(4, 1 << 40) is None
    assert found(99, 1 << 40) == [0, 1, 2, 3], "the checkpoint is of a log that was longer"
    log.reconfigure(LogConfig(compact=True, min_cleanable_dirty_ratio=1.0, max_compaction_lag_ms=500))
    assert found(3, 1800) is None
    assert found(3, 1801) == [0, 1, 2, 3], "the oldest dirty record has waited for too long"
    log.reconfigure(LogConfig())
    assert found(0, 1 << 40) is None


def test_no_active_segment_is_kept_from_compaction_for_too_long(tmp_path: Path) -> None:
    log = compacted_log(tmp_path, LogConfig(compact=True, max_compaction_lag_ms=500))
    for timestamp in (1000, 1500, 1501):
        write(log, [(b"a", b"1")], timestamps=[timestamp])
    assert [segment.base_offset for segment in log.segments] == [0, 2]


def test_a_wrong_record_count_is_damage(tmp_path: Path) -> None:
    log = compacted_log(tmp_path, LogConfig())
    batch = bytearray(keyed_batch([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]))
    log.append(memoryview(patch(patch(batch, ">i", 57, 2), ">i", 23, 1)), NOW)
    log.roll(NOW)
    log.reconfigure(CONFIG)
    with pytest.raises(InvalidBatch, match="records end at byte"):
        run_compaction(log, find_cleanable(log), now_ms=0)
    assert BatchHeader(batches_of(log)[0][1]).records_count == 2


def test_who_reads_an_old_segment_may_go_on(tmp_path: Path) -> None:
    log = compacted_log(tmp_path)
    write(log, [(b"a", b"1")], [(b"a", b"2")])
    piece = log.read(0, 10_000)
    assert piece is not None
    before = piece.read()
    log.roll(NOW)
    compact_log(log)
    for path in log.directory.glob("*.deleted"):
        path.unlink()
    assert piece.read() == before
    assert [record[0] for record in shown(log)] == [1]
