"""Uploads at the same time: the files of one rotation, the parts of one file."""

import threading
from collections.abc import Mapping
from unittest.mock import patch

import pytest
from support.memory_bucket import MemoryBucket
from support.s3_sink import SinkDriver, json_record, offsets_in

from connect.api import RetriableError, TopicPartition
from connectors.s3 import objects, sink, staging
from connectors.s3.objects import GrowingObject
from connectors.s3.staging import Staging

TP = TopicPartition("t", 0)
PATIENCE_S = 60.0
BY_FIELD = {
    "s3.bucket.name": "b", "flush.size": "8", "partitioner.class": "FieldPartitioner",
    "partition.field.name": "f",
}  # fmt: skip


class MeetingBucket(MemoryBucket):
    """Every request waits for so many others."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._barrier = threading.Barrier(count, timeout=PATIENCE_S)

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        self._barrier.wait()
        super().put(key, data, metadata, if_absent=if_absent)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        self._barrier.wait()
        return super().put_part(key, upload_id, number, data)


class PickyBucket(MemoryBucket):
    """Refuses the keys in `refused` once each."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.puts: list[str] = []

    def put(self, key: str, data: bytes, metadata: Mapping[str, str], *, if_absent: bool) -> None:
        self.puts.append(key)
        for part in self.refused:
            if part in key:
                self.refused.remove(part)
                raise RetriableError("not now")
        super().put(key, data, metadata, if_absent=if_absent)


def test_files_of_one_rotation_are_sent_together() -> None:
    bucket = MeetingBucket(4)
    with patch.object(sink, "open_bucket", lambda _: bucket):
        driver = SinkDriver(BY_FIELD, {TP: [json_record(n, {"f": n % 4}) for n in range(8)]})
        driver.run(batch=8)
        driver.task.stop()
    assert driver.committed == {TP: 8}
    assert sorted(offset for _, offset in offsets_in(bucket.objects)) == list(range(8))


def test_of_files_sent_together_only_those_that_failed_are_sent_again() -> None:
    bucket = PickyBucket()
    bucket.refused = ["f=1", "f=3"]
    with patch.object(sink, "open_bucket", lambda _: bucket):
        driver = SinkDriver(BY_FIELD, {TP: [json_record(n, {"f": n % 4}) for n in range(8)]})
        with pytest.raises(RetriableError, match="not now"):
            driver.deliver(8)
        driver.commit()
        assert driver.committed == {TP: 0}
        driver.run()
        driver.task.stop()
    again = [key.split("/")[2] for key in bucket.puts[4:]]
    assert sorted(again) == ["f=1", "f=3"]
    assert driver.committed == {TP: 8}


def test_parts_of_one_file_are_sent_together() -> None:
    bucket, shared = MeetingBucket(3), Staging(3)
    target = GrowingObject(bucket, "key", 10, shared, if_absent=False)  # type: ignore[arg-type]
    target.append(bytes(range(30)))
    target.complete({})
    shared.close()
    assert bucket.objects == {"key": bytes(range(30))}
    assert shared.gauge.bytes == 0


def test_what_requests_have_in_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "SENDING_BYTES_MAX", 25)
    monkeypatch.setattr(objects, "PART_BYTES_MIN", 10)
    lock, sent = threading.Lock(), [0, 0]

    class Counting(MemoryBucket):
        def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
            with lock:
                sent[0] += len(data)
                sent[1] = max(sent[1], sent[0])
            etag = super().put_part(key, upload_id, number, data)
            with lock:
                sent[0] -= len(data)
            return etag

    bucket, shared = Counting(), Staging(8)
    target = GrowingObject(bucket, "key", 10, shared, if_absent=False)  # type: ignore[arg-type]
    for _ in range(20):
        target.append(b"x" * 30)
        target.send_full_parts()
    target.complete({})
    shared.close()
    assert bucket.objects == {"key": b"x" * 600}
    assert 10 <= sent[1] <= 20


def test_an_object_that_is_abandoned_while_parts_are_sent_leaves_nothing() -> None:
    began, go = threading.Event(), threading.Event()

    class Waiting(MemoryBucket):
        def put_part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
            began.set()
            go.wait(PATIENCE_S)
            return super().put_part(key, upload_id, number, data)

    bucket, shared = Waiting(), Staging(2)
    target = GrowingObject(bucket, "key", 10, shared, if_absent=False)  # type: ignore[arg-type]
    target.append(b"x" * 45)
    target.send_full_parts()
    assert began.wait(PATIENCE_S)
    threading.Timer(0.05, go.set).start()
    target.abandon()
    shared.close()
    assert (bucket.objects, bucket.uploads, shared.gauge.bytes) == ({}, {}, 0)
