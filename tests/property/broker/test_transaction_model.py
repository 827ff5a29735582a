"""Transactions in a log against a model: producers that write, commit, abort and come back with a new epoch,
while the log rolls, loses its oldest segments, is killed, torn and robbed of its helper files."""

import os
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule
from support.batches import make_batch
from support.log_machine import LogMachine
from support.read_committed import read_committed

from broker.log.config import LogConfig
from broker.log.transactions import TransactionMarker

NOW = 2000
MARKER_BYTES = 78
PRODUCERS = (3, 7, 11)
BUMPING_PRODUCER = 11
"""Its transactions are of version 2: each marker brings the next epoch."""

producer_ids = st.sampled_from(PRODUCERS)


@dataclass(frozen=True, slots=True)
class Written:
    """A batch in the log. `is_commit` is None for data."""

    base_offset: int
    last_offset: int
    size: int
    producer_id: int
    producer_epoch: int
    last_sequence: int
    transactional: bool
    is_commit: bool | None


class TransactionMachine(LogMachine):
    """The model is the list of what was written; all else follows from it."""

    @initialize(segment_bytes=st.integers(150, 2000))
    def begin(self, segment_bytes: int) -> None:
        self.written: list[Written] = []
        self.stable_offset = 0
        self.begin_with(
            LogConfig(segment_bytes=segment_bytes, index_interval_bytes=100, retention_bytes=1500)
        )

    # --- what follows from the model ---

    @property
    def end(self) -> int:
        return self.written[-1].last_offset + 1 if self.written else 0

    def state_of(self, producer_id: int) -> tuple[int, int]:
        """Epoch and next sequence."""
        epoch = sequence = 0
        for batch in self.written:
            if batch.producer_id == producer_id:
                if batch.producer_epoch != epoch:
                    epoch, sequence = batch.producer_epoch, 0
                if batch.is_commit is None:
                    sequence = batch.last_sequence + 1
        return epoch, sequence

    def transactions(self) -> tuple[dict[int, int], set[int]]:
        """First offsets of the open transactions by producer; base offsets of aborted batches."""
        batches: dict[int, list[int]] = {}
        aborted: set[int] = set()
        for batch in self.written:
            if batch.is_commit is not None:
                ended = batches.pop(batch.producer_id, [])
                if not batch.is_commit:
                    aborted.update(ended)
            elif batch.transactional:
                batches.setdefault(batch.producer_id, []).append(batch.base_offset)
        return {producer_id: offsets[0] for producer_id, offsets in batches.items()}, aborted

    # --- writing ---

    @rule(producer_id=producer_ids, count=st.integers(1, 4), size=st.integers(0, 200), plain=st.booleans())
    def write(self, producer_id: int, count: int, size: int, plain: bool) -> None:
        epoch, sequence = self.state_of(producer_id)
        transactional = not plain or producer_id in self.transactions()[0]
        batch = make_batch(
            [bytes(size)] * count,
            timestamps=[NOW] * count,
            producer_id=producer_id,
            producer_epoch=epoch,
            sequence=sequence,
            transactional=transactional,
        )
        again = bytearray(batch)
        appended = self.log.append(memoryview(batch), NOW)
        assert appended.base_offset == self.end
        assert self.log.append(memoryview(again), NOW).base_offset == self.end
        last_offset, last_sequence = self.end + count - 1, sequence + count - 1
        self.written.append(
            Written(self.end, last_offset, len(batch), producer_id, epoch, last_sequence, transactional, None)
        )

    @rule(producer_id=producer_ids, is_commit=st.booleans())
    def end_transaction(self, producer_id: int, is_commit: bool) -> None:
        epoch, _ = self.state_of(producer_id)
        version = 0
        if producer_id == BUMPING_PRODUCER:
            epoch, version = epoch + 1, 2
        marker = TransactionMarker(producer_id, epoch, 0, is_commit, version)
        assert self.log.append_marker(marker, NOW).base_offset == self.end
        self.written.append(
            Written(self.end, self.end, MARKER_BYTES, producer_id, epoch, -1, True, is_commit)
        )

    @rule()
    def roll(self) -> None:
        if self.log.segments and self.log.segments[-1].size:
            self.log.roll(NOW)

    @rule()
    def expire_segments(self) -> None:
        self.log.enforce_retention(0)

    # --- starting again ---

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        """What was not synced may be there, or not, or in part; what was synced is there."""
        if self.synced >= self.end or not self.log.segments:
            return
        segment = self.log.segments[-1]
        in_file = [batch for batch in self.written if batch.base_offset >= segment.base_offset]
        kept = sum(batch.size for batch in in_file if batch.last_offset < self.synced)
        size = data.draw(st.integers(kept, segment.size))
        os.truncate(segment.file.path, size)
        while in_file and size < sum(batch.size for batch in in_file):
            in_file.pop()
            self.written.pop()
        self.stable_offset = 0
        self.open()

    @rule(
        suffix=st.sampled_from([".txnindex", ".txnindex", ".snapshot", ".index"]),
        damage=st.sampled_from(["missing", "garbage", "cut", "longer", "zeros"]),
        everywhere=st.booleans(),
        clean=st.booleans(),
    )
    def damage_helpers(self, suffix: str, damage: str, everywhere: bool, clean: bool) -> None:
        if clean:
            self.stop()
        paths = sorted(self.log.directory.glob(f"*{suffix}"))
        for path in paths if everywhere else paths[-1:]:
            content = path.read_bytes()
            if damage == "missing":
                path.unlink()
            else:
                path.write_bytes(
                    {
                        "garbage": b"\x55" * len(content),
                        "cut": content[: len(content) // 34 * 34 - 34],
                        "longer": content + bytes(34),
                        "zeros": bytes(len(content)),
                    }[damage]
                )
        self.open()

    # --- what must hold ---

    @invariant()
    def the_last_stable_offset_is_right_and_never_retreats(self) -> None:
        if not hasattr(self, "log"):
            return
        log = self.log
        assert log.log_end_offset == self.end
        still_open, _ = self.transactions()
        for producer_id in PRODUCERS:
            assert (log.open_transaction(producer_id) is not None) == self.has_open_records(producer_id)
        first = min(still_open.values(), default=self.end)
        if first >= log.log_start_offset:
            assert log.last_stable_offset == first
            assert log.last_stable_offset >= self.stable_offset
            self.stable_offset = first
        else:
            # The transaction has lost its begin: where it begins now depends on what was read at the start.
            assert log.last_stable_offset <= self.first_remaining(still_open)

    def has_open_records(self, producer_id: int) -> bool:
        """Whether the model says so, or the log need not know since all of it is gone."""
        if producer_id not in self.transactions()[0]:
            return False
        remaining = [b for b in self.written if b.base_offset >= self.log.log_start_offset]
        open_here = any(b.producer_id == producer_id and b.is_commit is None for b in remaining)
        return open_here or self.log.open_transaction(producer_id) is not None

    def first_remaining(self, still_open: dict[int, int]) -> int:
        """The first batch that is still there of any open transaction."""
        start = self.log.log_start_offset
        remaining = [
            batch.base_offset
            for batch in self.written
            if batch.producer_id in still_open
            and batch.base_offset >= max(start, still_open[batch.producer_id])
        ]
        return min(remaining, default=self.end)

    @invariant()
    def what_is_committed_can_be_read(self) -> None:
        if hasattr(self, "log"):
            self.check_reading(self.log.log_start_offset, 1 << 20)

    @rule(data=st.data(), max_bytes=st.sampled_from([1, 100, 300, 1000, 1 << 20]))
    @precondition(lambda self: bool(self.written))
    def read(self, data: st.DataObject, max_bytes: int) -> None:
        """From any batch on, in pieces of any size: all that is committed, and nothing else."""
        starts = [b.base_offset for b in self.written if b.base_offset >= self.log.log_start_offset]
        self.check_reading(data.draw(st.sampled_from([*starts, self.end])), max_bytes)

    def check_reading(self, offset: int, max_bytes: int) -> None:
        log = self.log
        _, aborted = self.transactions()
        expected = [
            batch.base_offset
            for batch in self.written
            if offset <= batch.base_offset < log.last_stable_offset
            and batch.is_commit is None
            and batch.base_offset not in aborted
        ]
        assert read_committed(log, offset, max_bytes) == expected


TransactionMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestTransactions = TransactionMachine.TestCase
