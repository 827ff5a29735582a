"""Compaction against a dict: writes, transactions, compactions, restarts and kills at random, by seed."""

import random
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from support.compaction import (
    Pairs,
    committed_records,
    find_cleanable,
    keyed_batch,
    newest_values,
    open_log,
    run_compaction,
    sync,
    take_over,
)

from broker.log.cleaner import cleanable
from broker.log.config import LogConfig
from broker.log.partition_log import PartitionLog
from broker.log.transactions import TransactionMarker

SEEDS = 16
STEPS = 250
DELETE_RETENTION_MS = 100
PRODUCERS = (1, 2, 3)

Written = dict[int, tuple[bytes, bytes | None, int]]
"""Key, value and timestamp by offset."""


class Model:
    """A log, and next to it what was committed (`history`) and what is in open transactions (`open`)."""

    def __init__(self, seed: int, directory: Path) -> None:
        self.dice = random.Random(seed)
        self.directory = directory
        self.config = LogConfig(
            segment_bytes=self.dice.choice([200, 600, 2000]),
            index_interval_bytes=100,
            compact=True,
            delete=False,
            min_cleanable_dirty_ratio=0.0,
            delete_retention_ms=DELETE_RETENTION_MS,
        )
        self.map_bytes = self.dice.choice([500, 1 << 20])
        self.now_ms = 1000
        self.clean_until = 0
        self.history: Written = {}
        self.open: dict[int, Written] = {}
        self.sequences = dict.fromkeys(PRODUCERS, 0)
        self.last_batch: dict[int, tuple[int, Pairs, bool, int]] = {}
        self.ends = (0, 0, 0)
        self.compactions = 0
        self.start()

    def start(self) -> None:
        self.manager, self.log = open_log(self.directory, self.config)
        assert self.log.failure is None
        self.check()

    def step(self) -> None:
        steps = {
            self.write: 4,
            self.produce: 8,
            self.end_transaction: 6,
            self.repeat_the_last_batch: 2,
            self.roll: 2,
            self.compact: 4,
            self.start: 0.5,
            self.restart: 0.3,
            self.start_without_snapshots: 0.3,
            self.start_with_a_checkpoint: 0.3,
        }
        self.now_ms += self.dice.choice([0, 1, 10, 60])
        self.dice.choices(list(steps), list(steps.values()))[0]()

    def pairs(self) -> Pairs:
        dice = self.dice

        def pair() -> tuple[bytes, bytes | None]:
            key = b"key-%d" % dice.randrange(6)
            value = None if dice.random() < 0.2 else b"%d" % dice.randrange(1000)
            return key * dice.choice([1, 1, 5]), value

        return [pair() for _ in range(dice.choice([1, 1, 2, 3]))]

    def written(self, base_offset: int, pairs: Pairs) -> Written:
        return {base_offset + n: (key, value, self.now_ms) for n, (key, value) in enumerate(pairs)}

    def batch(self, pairs: Pairs, **fields: object) -> memoryview:
        return keyed_batch(pairs, timestamps=[self.now_ms] * len(pairs), **fields)

    def write(self) -> None:
        pairs = self.pairs()
        batch = self.batch(pairs, compression=self.dice.choice([0, 0, 4]))
        base_offset = self.log.append(batch, self.now_ms).base_offset
        self.history.update(self.written(base_offset, pairs))

    def produce(self) -> None:
        producer_id, pairs = self.dice.choice(PRODUCERS), self.pairs()
        transactional = producer_id in self.open or self.dice.random() < 0.8
        sequence = self.sequences[producer_id]
        base_offset = self.log.append(
            self.batch(pairs, **_sequenced(producer_id, sequence, transactional)), self.now_ms
        ).base_offset
        self.sequences[producer_id] += len(pairs)
        self.last_batch[producer_id] = sequence, pairs, transactional, base_offset
        into = self.open.setdefault(producer_id, {}) if transactional else self.history
        into.update(self.written(base_offset, pairs))

    def end_transaction(self) -> None:
        producer_id, is_commit = self.dice.choice(PRODUCERS), self.dice.random() < 0.5
        written = self.open.pop(producer_id, None)
        if written is not None:
            self.log.append_marker(TransactionMarker(producer_id, 0, 0, is_commit), self.now_ms)
            if is_commit:
                self.history.update(written)

    def repeat_the_last_batch(self) -> None:
        """As a producer does that has not heard the answer: it must not be written again."""
        for producer_id, (sequence, pairs, transactional, base_offset) in self.last_batch.items():
            again = self.batch(pairs, **_sequenced(producer_id, sequence, transactional))
            assert self.log.append(again, self.now_ms).base_offset == base_offset

    def roll(self) -> None:
        if self.log.segments and self.log.segments[-1].size:
            self.log.roll(self.now_ms)

    def compact(self) -> None:
        """All of it; or a kill comes when only some of its segments are in place, or before the snapshot."""
        dice = self.dice
        self.roll()
        sync(self.log)
        if dice.random() < 0.1:
            self.clean_until = 0  # the checkpoint is lost
        if cleanable(self.log, self.clean_until, self.now_ms + 1) is None:
            return
        found = find_cleanable(self.log, self.clean_until, self.now_ms + 1)
        segments, clean_until = run_compaction(self.log, found, now_ms=self.now_ms, map_bytes=self.map_bytes)
        done = len(segments) if dice.random() < 0.7 else dice.randrange(len(segments))
        self.compactions += 1
        for number, cleaned in enumerate(segments[:done]):
            if number + 1 == done and dice.random() < 0.2:
                with patch.object(PartitionLog, "write_snapshot"):
                    take_over(self.log, found, cleaned)
                self.start()
                return
            take_over(self.log, found, cleaned)
        if done < len(segments):
            self.start()
        else:
            self.clean_until = clean_until
        self.check()

    def restart(self) -> None:
        self.manager.close()
        self.start()

    def start_without_snapshots(self) -> None:
        for path in self.log.directory.glob("*.snapshot"):
            path.unlink()
        self.start()

    def start_with_a_checkpoint(self) -> None:
        sync(self.log)
        self.manager.write_checkpoint(self.manager.recovery_points())
        self.start()

    def check(self) -> None:
        """Readers see the table, every record as it was written, and no end has gone back."""
        limit = self.log.last_stable_offset
        table: dict[bytes, bytes] = {}
        for offset in sorted(offset for offset in self.history if offset < limit):
            key, value, _ = self.history[offset]
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        records = committed_records(self.log)
        assert newest_values(records) == table
        for record in records:
            value = None if record.value is None else bytes(record.value)
            assert self.history[record.offset] == (bytes(record.key or b""), value, record.timestamp)
        ends = (self.log.log_start_offset, self.log.high_watermark, limit)
        assert all(now >= before for now, before in zip(ends, self.ends, strict=True))
        self.ends = ends


def _sequenced(producer_id: int, sequence: int, transactional: bool) -> dict[str, object]:
    return {
        "producer_id": producer_id,
        "producer_epoch": 0,
        "sequence": sequence,
        "transactional": transactional,
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_compaction_is_not_seen(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fsync", "fdatasync"):  # a kill takes nothing away that was written
        monkeypatch.setattr(f"os.{name}", lambda fd: None)
    model = Model(seed, tmp_path / "data")
    for _ in range(STEPS):
        model.step()
    model.check()
    assert model.compactions > 5
    shutil.rmtree(tmp_path / "data")
