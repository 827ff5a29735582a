"""The log against a model: whatever is appended, read, reopened, killed and torn, in any order."""

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from support.batches import make_batch
from support.log_machine import LogMachine

from broker.log.config import LogConfig
from broker.log.timestamps import find_by_timestamp
from broker.wire.batch import BatchHeader


class BatchMachine(LogMachine):
    """`batches` is the model: base offset, last offset, timestamp and bytes of each batch."""

    @initialize(
        segment_bytes=st.integers(150, 3000), index_interval_bytes=st.sampled_from([0, 100, 500, 4096])
    )
    def begin(self, segment_bytes: int, index_interval_bytes: int) -> None:
        self.batches: list[tuple[int, int, int, bytes]] = []
        self.start = 0
        self.sequence = 0
        self.timestamp = 1000
        self.begin_with(
            LogConfig(
                segment_bytes=segment_bytes, index_interval_bytes=index_interval_bytes, retention_bytes=2000
            )
        )

    @property
    def end(self) -> int:
        return self.batches[-1][1] + 1 if self.batches else self.start

    @rule(count=st.integers(1, 5), size=st.integers(0, 300), step=st.integers(-3, 20))
    def append(self, count: int, size: int, step: int) -> None:
        self.timestamp += step
        batch = make_batch(
            [bytes(size)] * count,
            timestamps=[self.timestamp] * count,
            producer_id=9,
            producer_epoch=0,
            sequence=self.sequence,
        )
        self.sequence += count
        appended = self.log.append(memoryview(batch), 2000)
        assert appended.base_offset == self.end
        self.batches.append((self.end, self.end + count - 1, self.timestamp, bytes(batch)))

    @rule()
    def repeat_the_last_batch(self) -> None:
        if self.batches:
            base, _, _, batch = self.batches[-1]
            again = bytearray(bytes(8) + batch[8:])
            assert self.log.append(memoryview(again), 2000).base_offset == base

    @rule(data=st.data(), max_bytes=st.integers(0, 2000))
    def read(self, data: st.DataObject, max_bytes: int) -> None:
        if not self.batches:
            return
        offset = data.draw(st.integers(self.log.log_start_offset, self.end - 1))
        found = self.log.read(offset, max_bytes)
        assert found is not None
        content = found.read()
        expected = b"".join(batch for _, last, _, batch in self.batches if last >= offset)
        assert expected.startswith(content)
        first = BatchHeader(content)
        assert first.base_offset <= offset <= first.last_offset
        assert len(content) <= max(max_bytes, first.batch_bytes)
        position = 0
        while position < len(content):
            position += BatchHeader(content, position).batch_bytes
        assert position == len(content)

    @rule(step=st.integers(-5, 5))
    def find(self, step: int) -> None:
        wanted = self.timestamp - 10 + step
        expected = next(((time, base) for base, _, time, _ in self.batches if time >= wanted), None)
        assert find_by_timestamp(self.log, wanted) == expected

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        """What was not synced may be there, or not, or in part; what was synced is there."""
        if not self.batches or self.synced >= self.end:
            return
        file = self.log.segments[-1].file.path
        in_file = [batch for batch in self.batches if batch[0] >= self.log.segments[-1].base_offset]
        kept = sum(len(batch[3]) for batch in in_file if batch[1] < self.synced)
        size = data.draw(st.integers(kept, file.stat().st_size))
        os.truncate(file, size)
        while self.batches and size < sum(len(batch[3]) for batch in in_file):
            in_file.pop()
            self.batches.pop()
        self.sequence = self.sequence_at_end()
        self.open()

    def sequence_at_end(self) -> int:
        if not self.batches:
            return 0
        header = BatchHeader(self.batches[-1][3])
        return header.base_sequence + header.records_count

    @rule(suffix=st.sampled_from([".index", ".timeindex", ".snapshot"]), content=st.binary(max_size=40))
    def damage_helpers_and_kill(self, suffix: str, content: bytes) -> None:
        for path in self.log.directory.glob(f"*{suffix}"):
            path.write_bytes(content)
        self.open()

    @rule()
    def expire(self) -> None:
        self.log.enforce_retention(0)
        self.batches = [batch for batch in self.batches if batch[0] >= self.log.log_start_offset]
        self.start = self.log.log_start_offset
        # Only whole segments go, and a batch that is larger than a segment has one of its own.
        segments = self.log.segments
        assert len(segments) < 2 or self.log.size - segments[0].size < 2000

    @invariant()
    def the_ends_agree(self) -> None:
        if hasattr(self, "log"):
            assert self.log.log_end_offset == self.log.high_watermark == self.end
            assert self.log.recovery_point <= self.end


BatchMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLog = BatchMachine.TestCase
