"""Two rare turns on the way to exactly once, which random tests seldom meet."""

from collections.abc import Iterator, Sequence
from unittest.mock import patch

import pytest
from support.memory_bucket import Fault, Killed, MemoryBucket
from support.s3_sink import SinkDriver, json_record, offsets_in

from connect.api import SinkRecord, TopicPartition
from connectors.s3 import config, sink

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)


class ScriptedBucket(MemoryBucket):
    """Its next requests go as `script` says, later ones well."""

    def __init__(self) -> None:
        self.script: list[Fault] = []
        super().__init__(lambda: self.script.pop(0) if self.script else Fault.NONE)


@pytest.fixture
def bucket() -> Iterator[ScriptedBucket]:
    made = ScriptedBucket()
    with patch.object(sink, "open_bucket", lambda _: made), patch.object(config, "PART_BYTES_MIN", 10):
        yield made


def records(partition: int, count: int) -> Sequence[SinkRecord]:
    return [json_record(offset, partition=partition) for offset in range(count)]


def test_no_offset_within_an_object_that_was_found_is_committed(
    bucket: ScriptedBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = 0
    monkeypatch.setattr(sink, "_now_ms", lambda: now_ms)
    settings = {
        "s3.bucket.name": "b", "flush.size": "3", "rotate.schedule.interval.ms": "60000", "timezone": "UTC",
    }  # fmt: skip
    driver = SinkDriver(settings, {ONE: records(0, 6)})
    bucket.script = [Fault.KILLED_AFTER]
    with pytest.raises(Killed):
        driver.deliver(3)  # the object of 0 to 2 is there, and nobody knows
    driver.restart()
    driver.deliver(1)
    now_ms = 60_000
    driver.put([])  # the clock asks for an object of record 0 alone: the other one is found
    driver.deliver(1)
    driver.commit()
    assert driver.committed == {ONE: 0}
    driver.restart()
    driver.run()
    assert driver.committed == {ONE: 6}
    assert offsets_in(bucket.objects) == [("t+0", offset) for offset in range(6)]


def test_starting_over_and_failing_in_the_same_put(bucket: ScriptedBucket) -> None:
    settings = {"s3.bucket.name": "b", "flush.size": "4", "s3.part.size": "10", "s3.upload.threads": "1"}
    driver = SinkDriver(settings, {ONE: records(0, 4), TWO: records(1, 5)})
    driver.deliver(2, ONE)  # its upload is open now
    bucket.script = [Fault.UPLOADS_LOST, Fault.NOT_DONE]
    driver.deliver(5)  # partition 0 starts over, then partition 1 cannot be written
    assert driver.positions == {ONE: 0, TWO: 4}
    driver.run()
    assert driver.committed == {ONE: 4, TWO: 4}
    assert offsets_in(bucket.objects) == [(f"t+{n}", offset) for n in range(2) for offset in range(4)]
