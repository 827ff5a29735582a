"""The broker stops between any two file operations of a compaction, and while the next start repairs it.

What a reader is shown must be the same afterwards: the newest committed value of each key, every record at
its offset, and no end may go back.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from support.compaction import (
    committed_records,
    compact_log,
    keyed_batch,
    newest_values,
    open_log,
    sync,
)

from broker.log.config import LogConfig
from broker.log.manager import LogManager
from broker.log.partition_log import PartitionLog
from broker.log.transactions import TransactionMarker

NOW = 10_000
CONFIG = LogConfig(
    compact=True, delete=False, min_cleanable_dirty_ratio=0.0, delete_retention_ms=1000, segment_bytes=700
)
OPERATIONS = [
    "rename",
    "listdir",
    "unlink",
    "open",
    "pwrite",
    "fsync",
    "fdatasync",
    "ftruncate",
    "utime",
    "replace",
]


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill takes nothing away that was written; they would only make the tests slow."""
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda fd: None)


class Stopped(BaseException):
    """As after a kill, nothing runs any more that would put things in order."""


@contextmanager
def stop_at(number: int) -> Iterator[list[str]]:
    """Stop instead of the `number`th file operation; the list says which were done."""
    done: list[str] = []

    def counted(name: str, operation: Callable[..., object]) -> Callable[..., object]:
        def run(*args: object, **kwargs: object) -> object:
            if len(done) >= number:
                raise Stopped(name)
            done.append(name)
            return operation(*args, **kwargs)

        return run

    patches = [patch.object(os, name, counted(name, getattr(os, name))) for name in OPERATIONS]
    for one in patches:
        one.start()
    try:
        yield done
    finally:
        for one in patches:
            one.stop()


def write_history(log: PartitionLog) -> None:
    """Values, tombstones, aborted and committed transactions, a producer that is only heard of once."""

    def write(number: int, **fields: object) -> None:
        key = b"k%d" % (number % 7)
        value = None if number % 11 == 0 else b"value-%d" % number
        log.append(keyed_batch([(key, value), (b"also-" + key, b"%d" % number)], **fields), NOW)

    write(0, producer_id=99, producer_epoch=0, sequence=0)
    for number in range(1, 22):
        if number % 5 == 0:
            sequence = (number // 5 - 1) * 2
            write(number, producer_id=5, producer_epoch=0, sequence=sequence, transactional=True)
            log.append_marker(TransactionMarker(5, 0, 0, is_commit=number % 10 == 0), NOW)
        else:
            write(number)


@pytest.fixture(params=["synced before", "recovery points lost"])
def template(tmp_path: Path, request: pytest.FixtureRequest, no_syncs: None) -> Path:
    """A data directory with a log that has been compacted once, has tombstones that may go now, and more."""
    path = tmp_path / "template"
    manager, log = open_log(path, CONFIG)
    write_history(log)
    compact_log(log, now_ms=NOW)
    write_history_again = [(b"k%d" % (number % 7), b"later-%d" % number) for number in range(20)]
    for pair in write_history_again:
        log.append(keyed_batch([pair]), NOW)
    sync(log)
    manager.write_checkpoint(manager.recovery_points())
    if request.param == "recovery points lost":
        (path / "recovery-points").unlink()
    return path


class View:
    """What can be seen of a log from outside."""

    def __init__(self, log: PartitionLog) -> None:
        records = committed_records(log)
        self.table = newest_values(records)
        self.by_offset = {r.offset: (bytes(r.key or b""), r.value and bytes(r.value)) for r in records}
        self.ends = (log.log_start_offset, log.high_watermark, log.last_stable_offset)
        self.sequences = {
            producer_id: (producer.producer_epoch, [b.last_sequence for b in producer.batches][-1:])
            for producer_id, producer in log.producers
        }


def assert_same(log: PartitionLog, before: View) -> None:
    assert log.failure is None
    after = View(log)
    assert after.table == before.table
    assert after.by_offset.items() <= before.by_offset.items()
    assert after.ends == before.ends
    assert after.sequences == before.sequences


def reopened(path: Path) -> tuple[LogManager, PartitionLog]:
    return open_log(path, CONFIG)


def test_a_stop_at_any_operation(template: Path, tmp_path: Path) -> None:
    before = View(reopened(shutil.copytree(template, tmp_path / "before"))[1])
    number, completed = 0, False
    while not completed:
        path = shutil.copytree(template, tmp_path / "stopped")
        _, log = reopened(path)
        with stop_at(number) as done:
            try:
                compact_log(log, now_ms=NOW + 5000)
                completed = True
            except Stopped:
                pass
        _, again = reopened(shutil.copytree(path, tmp_path / "again"))
        assert_same(again, before)
        # It goes on from here as if nothing had been: written to, compacted, closed and opened.
        again.append(keyed_batch([(b"k1", b"newest")]), NOW)
        again.roll(NOW)
        compact_log(again, now_ms=NOW + 9000)
        assert newest_values(committed_records(again)) == before.table | {b"k1": b"newest"}
        if number % 8 == 0:
            stop_while_starting(path, tmp_path, before)
        shutil.rmtree(path)
        shutil.rmtree(tmp_path / "again")
        number += 1
    assert number > 40, done


def stop_while_starting(stopped: Path, tmp_path: Path, before: View) -> None:
    number, completed = 0, False
    while not completed:
        path = shutil.copytree(stopped, tmp_path / "starting")
        with stop_at(number):
            try:
                reopened(path)
                completed = True
            except Stopped:
                pass
        assert_same(reopened(path)[1], before)
        shutil.rmtree(path)
        number += 2


def test_a_planted_mistake_is_found(template: Path, tmp_path: Path) -> None:
    """The same checks, on a start that throws a half-done swap away instead of finishing it."""
    before = View(reopened(shutil.copytree(template, tmp_path / "before"))[1])

    def forget(directory: Path) -> None:
        for path in [*directory.glob("*.swap"), *directory.glob("*.deleted"), *directory.glob("*.cleaned")]:
            path.unlink()

    found = 0
    for number in range(200):
        path = shutil.copytree(template, tmp_path / str(number))
        _, log = reopened(path)
        with stop_at(number):
            try:
                compact_log(log, now_ms=NOW + 5000)
                break
            except Stopped:
                pass
        with patch("broker.log.recovery.finish_swaps", forget):
            try:
                assert_same(reopened(path)[1], before)
            except AssertionError:
                found += 1
    assert found > 0


def test_deleted_records_never_come_back(tmp_path: Path) -> None:
    """A stop at any operation of DeleteRecords: the start is where it was or where it was to be."""
    config = replace(CONFIG, delete=True, compact=False)
    template = tmp_path / "template"
    manager, log = open_log(template, config)
    for number in range(60):
        log.append(keyed_batch([(b"k", b"%d" % number)]), NOW)
    log.delete_records(10)
    sync(log)
    manager.write_checkpoint(manager.recovery_points())
    number, completed, starts = 0, False, set()
    while not completed:
        path = shutil.copytree(template, tmp_path / str(number))
        _, log = open_log(path, config)
        with stop_at(number):
            try:
                log.delete_records(37)
                log.enforce_retention(NOW)
                completed = True
            except Stopped:
                pass
        _, again = open_log(path, config)
        starts.add(again.log_start_offset)
        assert again.log_start_offset in ((37,) if completed else (10, 37))
        assert [r.offset for r in committed_records(again)][:1] == [again.log_start_offset]
        assert again.log_end_offset == 60
        number += 1
    assert starts == {10, 37}
